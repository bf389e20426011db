package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cli/terminal"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// deployOptions are what rebuild, install and switch have in common.
type deployOptions struct {
	from        option.Config
	name        string
	host        string
	hostSudo    bool
	targetSudo  bool
	bothSudo    bool
	restart     string
	updateFlake string
	dryRun      bool
	wait        time.Duration
	settle      hostapi.SettleChoice
	confirm     option.Confirm
	noGuest     bool
	build       option.Build
}

func (o *deployOptions) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	o.from.AddFlags(fs)
	fs.StringVar(&o.name, "name", "", "the VM's name on the host, where it is not NAME")
	fs.BoolVar(&o.hostSudo, "host-sudo", false, "become root on the host with sudo")
	fs.BoolVar(&o.dryRun, "dry-run", false, "say what would happen and change nothing")
	cmdline.AddWaitFlag(cmd, &o.wait)
	option.AddSettleFlag(cmd, &o.settle)
}

// addGuestFlags is for commands that activate.
func (o *deployOptions) addGuestFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	o.confirm.AddFlags(fs)
	fs.BoolVar(&o.targetSudo, "target-sudo", false, "become root in the guest with sudo")
	fs.BoolVar(&o.bothSudo, "use-remote-sudo", false, "both --host-sudo and --target-sudo")
}

func (o *deployOptions) addInstallFlags(cmd *cobra.Command) {
	o.build.AddFlags(cmd)
	cmd.Flags().StringVar(&o.updateFlake, "update-flake", "", "the flake that microvm -u on the host shall update from (written to the file flake of the VM)")
}

func (o *deployOptions) addRestartFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.restart, "restart", "", "when to restart the VM: auto (only where it can't be switched live), if-needed (also where the hardware differs), always, never")
}

// positionals are the arguments of a deploying command, in their order: NAME,
// then addresses; an action word may stand at any place behind NAME.
type positionals struct {
	name      microvm.Name
	addresses []microvm.Address
	action    hostapi.Action
}

func actions() []hostapi.Action {
	return []hostapi.Action{hostapi.ActionSwitch, hostapi.ActionBoot, hostapi.ActionTest, hostapi.ActionDryActivate}
}

func parsePositionals(cmd *cobra.Command, args []string, maxAddresses int, allowed []hostapi.Action) (positionals, error) {
	p := positionals{action: hostapi.ActionSwitch}
	wrong := func(format string, a ...any) (positionals, error) {
		return p, &cmdline.UsageError{Err: fmt.Errorf(format, a...), Next: "usage: " + cmd.UseLine()}
	}
	if len(args) == 0 {
		return wrong("%s needs the name of a VM", cmd.Name())
	}
	var err error
	if p.name, err = microvm.ParseName(args[0]); err != nil {
		return wrong("%w", err)
	}
	seen := false
	for _, arg := range args[1:] {
		if action := hostapi.Action(arg); slices.Contains(actions(), action) {
			if !slices.Contains(allowed, action) {
				return wrong("%s does not take the action %s", cmd.Name(), arg)
			}
			if seen {
				return wrong("more than one action: %s and %s", p.action, action)
			}
			p.action, seen = action, true
			continue
		}
		a, err := microvm.ParseAddress(arg)
		if err != nil {
			return wrong("%w", err)
		}
		p.addresses = append(p.addresses, a)
	}
	if len(p.addresses) > maxAddresses {
		return wrong("too many arguments: %s takes %d behind the name, besides an action", cmd.Name(), maxAddresses)
	}
	return p, nil
}

// request checks the options and makes a request of them.
func (o *deployOptions) request(p positionals) (request.Deploy, error) {
	req := request.Deploy{
		Attribute: p.name, Action: p.action,
		HostSudo: o.hostSudo || o.bothSudo, TargetSudo: o.targetSudo || o.bothSudo,
		Restart: hostapi.RestartPolicy(o.restart), UpdateFlake: o.updateFlake, DryRun: o.dryRun,
		Confirm: o.confirm.Confirm(), Wait: o.wait, Settle: o.settle, NoGuest: o.noGuest,
	}
	var err error
	if req.Building, err = o.build.Building(); err != nil {
		return req, err
	}
	if req.Source, err = o.from.Source(req.Building.EvalOnHost); err != nil {
		return req, err
	}
	if o.name != "" {
		n, err := microvm.ParseName(o.name)
		if err != nil {
			return req, &cmdline.UsageError{Err: err, Next: "--name takes the VM's name on the host"}
		}
		req.Name = n
	}
	if o.restart != "" && !slices.Contains(option.RestartPolicies(), o.restart) {
		return req, &cmdline.UsageError{Err: fmt.Errorf("unknown --restart=%.40q", o.restart), Next: "one of " + strings.Join(option.RestartPolicies(), ", ")}
	}
	if o.updateFlake != "" {
		if err := flake.CheckUpdateRef(o.updateFlake); err != nil {
			return req, &cmdline.UsageError{Err: fmt.Errorf("--update-flake: %w", err), Next: "name a flake that the host can reach, such as git+https://git.example.org/infra"}
		}
	}
	return req, nil
}

// runDeployment runs one deployment and prints its result.
func runDeployment(ctx context.Context, a *console.Console, req request.Deploy, run func(*deploy.Deployer, context.Context, request.Deploy) (*result.Result, error)) error {
	remote.RemoveStale(ctx)
	dir, remove, err := remote.NewSocketDir()
	if err != nil {
		return err
	}
	defer remove()
	evalNix := &nix.Nix{Program: "nix", Log: a.UI.Log("nix")}
	d := &deploy.Deployer{
		Report:    a.UI,
		Evaluator: &flake.Evaluator{Nix: evalNix, CacheDir: flake.DefaultCacheDir()},
		Nix:       evalNix, SocketDir: dir, AskPassword: terminal.Password(), Memory: console.Memory(),
	}
	result, err := run(d, ctx, req)
	return a.ShowResult(result, err)
}
