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
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/microvm"
)

// rollbackOptions are those of `ferry rollback`.
type rollbackOptions struct {
	place      option.Place
	target     string
	targetSudo bool
	to         int
	restart    string
	dryRun     bool
	wait       time.Duration
	settle     hostapi.SettleChoice
	confirm    option.Confirm
	noGuest    bool
}

func rollbackCommand(a *console.Console) *cobra.Command {
	var o rollbackOptions
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Go back to an earlier generation of a VM",
		Long: `Makes an earlier generation the VM's current one: without --to the one before the
current, so that a second rollback goes back one further. What runs is switched
live where that is possible; otherwise, and where the system inside can't be
reached, the VM is restarted. A stopped VM stays stopped.

Nothing is evaluated or built, and generations keep their numbers. The address
of the system inside is taken from --target, else from the flake's ` + "`ferry`" + `
output; so a rollback works with the flake gone, with --host and --target. What the
last deployment has recorded on the host is used once you have confirmed it on the
terminal, and with --host local; without a terminal, the error names it.` + option.ConfirmHelp,
		Example: `  ferry rollback web
  ferry rollback web --to 3 --dry-run
  ferry rollback web --host root@server --target root@web.example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := cmdline.VM(cmd, args, 0)
			if err != nil {
				return err
			}
			req, err := o.request(cmd, n)
			if err != nil {
				return err
			}
			return rollback(cmd.Context(), a, req, &o)
		},
	}
	o.place.AddFlags(cmd)
	cmdline.AddWaitFlag(cmd, &o.wait)
	option.AddSettleFlag(cmd, &o.settle)
	fs := cmd.Flags()
	o.confirm.AddFlags(fs)
	fs.IntVar(&o.to, "to", 0, "the generation to go to (ferry generations NAME)")
	fs.StringVar(&o.target, "target", "", "the address of the system inside")
	fs.BoolVar(&o.targetSudo, "target-sudo", false, "become root in the guest with sudo")
	option.AddNoGuestFlag(fs, &o.noGuest)
	fs.BoolVar(&o.dryRun, "dry-run", false, "say what would happen and change nothing")
	fs.StringVar(&o.restart, "restart", "", "when to restart the VM: auto (only where it can't be switched live), if-needed (also where the hardware differs), always, never")
	return cmd
}

func (o *rollbackOptions) request(cmd *cobra.Command, n microvm.Name) (request.Rollback, error) {
	req := request.Rollback{
		Name: n, TargetSudo: o.targetSudo, To: o.to, Restart: hostapi.RestartPolicy(o.restart), DryRun: o.dryRun,
		Confirm: o.confirm.Confirm(), Wait: o.wait, Settle: o.settle, NoGuest: o.noGuest,
	}
	if o.restart != "" && !slices.Contains(option.RestartPolicies(), o.restart) {
		return req, &cmdline.UsageError{Err: fmt.Errorf("unknown --restart=%.40q", o.restart), Next: "one of " + strings.Join(option.RestartPolicies(), ", ")}
	}
	if cmd.Flags().Changed("to") && o.to < 1 {
		return req, &cmdline.UsageError{Err: fmt.Errorf("%d is not a generation", o.to), Next: "ferry generations NAME lists their numbers"}
	}
	if o.target != "" {
		address, err := option.TargetAddress(o.target)
		if err != nil {
			return req, err
		}
		req.Target = &address
	}
	return req, nil
}

func rollback(ctx context.Context, a *console.Console, req request.Rollback, o *rollbackOptions) error {
	return a.WithManager(ctx, &o.place, func(m *manage.Manager) error {
		place, err := m.PlaceOf(ctx, req.Name, o.place.Host, o.place.HostSudo)
		if err != nil {
			return err
		}
		req.Host, req.HostSudo = place.Address, place.Sudo
		vm := m.VM(ctx, req.Name)
		if req.Target == nil {
			req.Target, req.TargetSudo = vm.Target, req.TargetSudo || vm.TargetSudo
		}
		req.Confirm = req.Confirm.Or(vm.Health)
		d := &deploy.Deployer{Report: a.UI, SocketDir: m.SocketDir, AskPassword: m.AskPassword, Ask: terminal.Confirmer(a.Err), Memory: console.Memory()}
		result, err := d.Rollback(ctx, req)
		return a.ShowResult(result, err)
	})
}
