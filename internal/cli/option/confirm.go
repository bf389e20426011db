package option

import (
	"time"

	"github.com/spf13/pflag"

	"ferry/internal/cmdline"
	"ferry/internal/deploy/request"
	"ferry/internal/health"
)

// ConfirmHelp is what the commands that activate say of it.
const ConfirmHelp = `

What is activated must be confirmed. After a live switch, ferry logs in to the
guest once more and must find the new system there; after a restart, the unit must stay
up and, where TARGET is known, the guest run what it booted. The checks of
--check-tcp, --check-http and --check-command, or of ` + "`health`" + ` in the flake's ` + "`ferry`" + `
output, must pass too. Whatever fails, or isn't confirmed in time, is undone:
the VM goes back to what ran before, by itself if need be, and the exit code
is 4. A guest that nobody can reach after it has undone a live switch is restarted
by its host, once, where the host could connect to it before. Where what ran before
does not run again, the exit code is 1.`

// Confirm says what shows that a deployment is well.
type Confirm struct {
	NoRollback        bool
	acceptFailedUnits bool
	timeout           time.Duration
	activationLimit   time.Duration
	checks            health.Checks
	command           string
}

// AddFlags is for commands that activate.
func (o *Confirm) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.NoRollback, "no-rollback", false, "leave a deployment that failed as it is instead of undoing it")
	fs.BoolVar(&o.acceptFailedUnits, "accept-failed-units", false, "accept a deployment even if units failed in the guest")
	fs.Var(&cmdline.Duration{To: &o.timeout, Most: health.MaxTimeout}, "confirm-timeout", "how long the guest and all checks may take to answer, such as 30s or 2m (default: the flake's, else 1m after a live switch and 3m after a restart)")
	fs.Var(&cmdline.Duration{To: &o.activationLimit, Most: health.MaxTimeout}, "activation-limit", "how long the switch in the guest may take (default: no limit)")
	for _, k := range health.Kinds() {
		fs.Var(&checkValue{to: k.Of(&o.checks), check: k.Valid, kind: k.Value}, "check-"+k.Name, k.Help+" (repeatable; instead of the flake's)")
	}
	fs.Var(&commandValue{to: &o.command}, "check-command", "a shell command that must succeed in the guest, as root (instead of the flake's)")
}

// AddSecretFlags is for the checks that ferry keeps nowhere.
func (o *Confirm) AddSecretFlags(fs *pflag.FlagSet) {
	for _, k := range health.Kinds() {
		if k.Name == "http" {
			fs.Var(&checkValue{to: k.Of(&o.checks), check: k.Valid, kind: k.Value}, "check-"+k.Name, "a check of the deployment whose URL has a password or a query (repeatable)")
		}
	}
	fs.Var(&commandValue{to: &o.command}, "check-command", "the check command of the deployment")
}

// Confirm is what the options say; what they leave open is empty.
func (o *Confirm) Confirm() request.Confirm {
	return request.Confirm{
		NoRollback: o.NoRollback, AcceptFailedUnits: o.acceptFailedUnits,
		Timeout: o.timeout, ActivationLimit: o.activationLimit,
		Checks: o.checks, Command: o.command,
	}
}

// checkValue collects values that pass a check.
type checkValue struct {
	to    *[]string
	check func(string) error
	kind  string
}

func (v *checkValue) String() string { return "" }
func (v *checkValue) Type() string   { return v.kind }

func (v *checkValue) Set(s string) error {
	if err := v.check(s); err != nil {
		return err
	}
	*v.to = append(*v.to, s)
	return nil
}

type commandValue struct{ to *string }

func (v *commandValue) String() string { return "" }
func (v *commandValue) Type() string   { return "COMMAND" }

func (v *commandValue) Set(s string) error {
	if err := health.ValidCommand(s); err != nil {
		return err
	}
	*v.to = s
	return nil
}
