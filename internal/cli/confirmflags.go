package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ferry/internal/deploy"
	"ferry/internal/health"
)

// confirmHelp is what the commands that activate say of it.
const confirmHelp = `

What is activated must be confirmed. After a live switch, ferry logs in to the
guest once more and must find the new system there; after a restart, the unit must stay
up and, where TARGET is known, the guest run what it booted. The checks of
--check-tcp, --check-http and --check-command, or of ` + "`health`" + ` in the flake's ` + "`ferry`" + `
output, must pass too. Whatever fails, or isn't confirmed in time, is undone:
the VM goes back to what ran before, by itself if need be, and the exit code
is 4.`

// confirmOptions say what shows that a deployment is well.
type confirmOptions struct {
	noRollback        bool
	acceptFailedUnits bool
	timeout           time.Duration
	activationLimit   time.Duration
	checks            health.Checks
	command           string
}

func (o *confirmOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.noRollback, "no-rollback", false, "leave a deployment that failed as it is instead of undoing it")
	fs.BoolVar(&o.acceptFailedUnits, "accept-failed-units", false, "accept a live switch even if units failed in the guest")
	fs.Var(&durationValue{to: &o.timeout, most: health.MaxTimeout}, "confirm-timeout", "how long the guest and all checks may take to answer, such as 30s or 2m (default: the flake's, else 1m after a live switch and 3m after a restart)")
	fs.Var(&durationValue{to: &o.activationLimit, most: health.MaxTimeout}, "activation-limit", "how long the switch in the guest may take (default: no limit)")
	for _, k := range health.Kinds() {
		fs.Var(&checkValue{to: k.Of(&o.checks), check: k.Valid, kind: k.Value}, "check-"+k.Name, k.Help+" (repeatable; instead of the flake's)")
	}
	fs.Var(&commandValue{to: &o.command}, "check-command", "a shell command that must succeed in the guest, as root (instead of the flake's)")
}

// confirm is what the options say; what they leave open is empty.
func (o *confirmOptions) confirm() deploy.Confirm {
	return deploy.Confirm{
		NoRollback: o.noRollback, AcceptFailedUnits: o.acceptFailedUnits,
		Timeout: o.timeout, ActivationLimit: o.activationLimit,
		Checks: o.checks, Command: o.command,
	}
}

const defaultWait = "30m"

// addWaitFlag is for commands that take the VM's lock.
func addWaitFlag(cmd *cobra.Command, wait *time.Duration) {
	fs := cmd.Flags()
	fs.Var(&durationValue{to: wait, most: health.MaxTimeout}, "wait", "wait for another deployment of the VM to end, at most this long (--wait alone: 30m), instead of failing with exit code 5")
	fs.Lookup("wait").NoOptDefVal = defaultWait
}

// durationValue is a time from a second up: `90s`, `2m`, or plain seconds.
type durationValue struct {
	to   *time.Duration
	most time.Duration
}

func (v *durationValue) String() string {
	if v.to == nil || *v.to == 0 {
		return ""
	}
	return v.to.String()
}

func (v *durationValue) Type() string { return "DURATION" }

func (v *durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if n, aerr := strconv.Atoi(s); aerr == nil {
		d, err = time.Duration(min(max(n, -1), int(v.most/time.Second)+1))*time.Second, nil
	}
	if err != nil {
		return errors.New("expected a time such as 30s or 2m")
	}
	if d < time.Second || d > v.most {
		return fmt.Errorf("expected a time from 1s to %s", strings.TrimSuffix(v.most.String(), "0m0s"))
	}
	*v.to = d
	return nil
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
