package updates

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/timers"
	"ferry/internal/ui"
)

// TimerCommand is `ferry host timer`.
func TimerCommand(a *console.Console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "timer",
		Short: "Schedule updates on a host",
		Long: `Timers of systemd on a host. What they do is in /etc/ferry/timers.json, a file that
only root may write and that is read strictly: a wrong word ends the run with an
error that names it.`,
		RunE: func(*cobra.Command, []string) error {
			return &cmdline.UsageError{Err: errors.New("timer needs a command"), Next: "ferry host timer --help lists them"}
		},
	}
	cmd.AddCommand(timerUpdate(a), timerFlakeUpdate(a), timerStatus(a), timerRun(a))
	return cmd
}

// timerOptions are those of both timers.
type timerOptions struct {
	place    option.Place
	calendar []string
	delay    time.Duration
	remove   bool
	dryRun   bool
	// complete adds what the flake says of the host's VMs; nil: nothing.
	complete func(context.Context, *manage.Manager, manage.Place)
}

func (o *timerOptions) addFlags(cmd *cobra.Command) {
	o.place.AddFlakeFlags(cmd)
	fs := cmd.Flags()
	fs.StringArrayVar(&o.calendar, "on-calendar", nil, "when it runs, in the form of systemd.time(7): daily, Mon..Fri 03:00 (repeatable)")
	fs.Var(&cmdline.Duration{To: &o.delay, Most: health.MaxTimeout}, "randomized-delay", "wait a random time up to this before each run")
	fs.BoolVar(&o.remove, "remove", false, "remove the timer")
	fs.BoolVar(&o.dryRun, "dry-run", false, "show what would be done, every file with a diff, and change nothing")
}

func timerUpdate(a *console.Console) *cobra.Command {
	var o timerOptions
	var u timers.Update
	var source sourceOptions
	var target guestAddress
	cmd := &cobra.Command{
		Use:   "update HOST [NAME…]",
		Short: "Schedule updates of a host's VMs",
		Long: `HOST runs ferry update for the named VMs, or all of its own, whenever --on-calendar
says. The sources and --cache are those of ferry update; --from-flake builds what
the VMs' ` + "`flake`" + ` files name, as microvm -u does, with the same undo as every
deployment. Where the host can't log in to a VM's system, --restart decides:
auto restarts the VM, never installs only.

Where a VM's system is comes from --target, for one VM, or from the flake's ` + "`ferry`" + `
output, as it is now; otherwise from the host's own record of the VM's last
deployment.`,
		Example: `  ferry host timer update root@server --on-calendar daily --randomized-delay 30m --from-flake --restart never
  ferry host timer update root@server web --on-calendar hourly --hydra https://hydra.example.org/jobset/infra/main --cache https://cache.example.org
  ferry host timer update root@server --remove`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &cmdline.UsageError{Err: errors.New("HOST is missing"), Next: "usage: " + cmd.UseLine()}
			}
			u.VMs = args[1:]
			u.Hydra, u.From, u.FromFlake = source.hydra, source.from, source.fromFlake
			u.AnyFlake, u.AllowRedirect, u.Netrc = source.anyFlake, source.allowRedirect, source.netrc
			u.AllowHTTP = &source.allowHTTP
			req := timers.Request{Kind: timers.KindUpdate, Settings: timers.Settings{Update: &u}}
			if !o.remove {
				if err := target.into(&u); err != nil {
					return err
				}
				if _, _, err := timedUpdate(&u); err != nil {
					return err
				}
				o.complete = func(ctx context.Context, m *manage.Manager, p manage.Place) { addTargets(ctx, m, p, &u) }
			}
			if !source.allowHTTP {
				u.AllowHTTP = nil // which an older ferry on the host reads, too
			}
			return setTimer(cmd.Context(), a, &o, args[0], req)
		},
	}
	o.addFlags(cmd)
	source.addFlags(cmd)
	fs := cmd.Flags()
	addAllowOlder(fs, &u.AllowOlder)
	fs.StringVar(&u.Cache, "cache", "", "the binary cache that has the builds (default: the host's own substituters)")
	fs.StringVar(&u.Restart, "restart", "", "when to restart a VM: auto (only where it can't be switched live), if-needed, always, never")
	fs.StringVar(&target.address, "target", "", "the address of the system inside, for one VM (default: the flake's, else the host's record)")
	fs.BoolVar(&target.sudo, "target-sudo", false, "become root in the guest with sudo")
	fs.BoolVar(&u.NoRollback, "no-rollback", false, "leave an update that failed as it is instead of undoing it")
	return cmd
}

func timerFlakeUpdate(a *console.Console) *cobra.Command {
	var o timerOptions
	var f timers.FlakeUpdate
	cmd := &cobra.Command{
		Use:   "flake-update HOST [INPUT…]",
		Short: "Schedule updates of a flake, on a branch for CI to build",
		Long: `HOST runs ferry flake-update in --repository, a clone or a bare repository there,
whenever --on-calendar says, and pushes the branch to --push.`,
		Example: `  ferry host timer flake-update root@server --on-calendar weekly --repository /srv/infra.git --push origin
  ferry host timer flake-update root@server --remove`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &cmdline.UsageError{Err: errors.New("HOST is missing"), Next: "usage: " + cmd.UseLine()}
			}
			f.Inputs = args[1:]
			return setTimer(cmd.Context(), a, &o, args[0], timers.Request{Kind: timers.KindFlakeUpdate, Settings: timers.Settings{FlakeUpdate: &f}})
		},
	}
	o.addFlags(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.Repository, "repository", "", "the flake's directory on the host, or a bare repository")
	fs.StringVar(&f.Branch, "branch", "flake-update", "the branch for updates")
	fs.StringVar(&f.Push, "push", "", "push the branch to this remote, a name or a URL")
	return cmd
}

// setTimer checks what can be checked here, and has the host do it.
func setTimer(ctx context.Context, a *console.Console, o *timerOptions, word string, req timers.Request) error {
	req.Remove, req.DryRun = o.remove, o.dryRun
	req.Schedule = timers.Schedule{OnCalendar: o.calendar, Delay: o.delay}
	if !o.remove {
		b, err := json.Marshal(req.Settings)
		if err == nil {
			_, err = timers.Decode(b)
		}
		if err == nil && len(o.calendar) == 0 {
			err = errors.New("--on-calendar is missing")
		}
		if err != nil {
			return &cmdline.UsageError{Err: err, Next: "for example --on-calendar daily; ferry host timer " + string(req.Kind) + " --help"}
		}
	}
	complete := func(m *manage.Manager, p manage.Place) {
		if o.complete != nil {
			o.complete(ctx, m, p)
		}
	}
	return a.OnPlaceWith(ctx, &o.place, word, complete, func(h *manage.Host) error {
		r, err := h.SetTimer(ctx, req)
		if err != nil {
			return err
		}
		return showTimer(a.UI, h.String(), r)
	})
}

func timerStatus(a *console.Console) *cobra.Command {
	var o option.Place
	cmd := &cobra.Command{
		Use:     "status [HOST]",
		Short:   "Show a host's timers: when they ran, how that ended, when they run next",
		Example: "  ferry host timer status root@server",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			word := "local"
			if len(args) > 0 {
				word = args[0]
			}
			return a.OnPlace(cmd.Context(), &o, word, func(h *manage.Host) error {
				all, err := h.Timers(cmd.Context())
				if err != nil {
					return err
				}
				return showTimers(a.UI, h.String(), all)
			})
		},
	}
	o.AddFlakeFlags(cmd)
	return cmd
}

// timerRun is what the timers' services start.
func timerRun(a *console.Console) *cobra.Command {
	return &cobra.Command{
		Use:       "run (update|flake-update)",
		Short:     "Do what a timer of this machine does, now",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{string(timers.KindUpdate), string(timers.KindFlakeUpdate)},
		RunE: func(cmd *cobra.Command, args []string) error {
			k := timers.Kind(args[0])
			if !slices.Contains(cmd.ValidArgs, args[0]) {
				return &cmdline.UsageError{Err: fmt.Errorf("unknown timer %.40q", args[0]), Next: "usage: " + cmd.UseLine()}
			}
			// As systemd starts it: a flake in the user's directory is not asked.
			if err := os.Chdir("/"); err != nil {
				return err
			}
			s, err := timers.Read(timers.File)
			switch {
			case err != nil:
				return err
			case k == timers.KindUpdate && s.Update != nil:
				o, names, err := timedUpdate(s.Update)
				if err != nil {
					return err
				}
				if s.Update.UnsaidHTTP() {
					a.UI.Warn("anybody on the way can change what %s says, since it is asked over http: use https, or set `allowHttp` of `update` in %s", ui.Redact(cmp.Or(s.Update.Hydra, s.Update.From)), timers.File)
				}
				return runUpdate(cmd.Context(), a, o, names)
			case k == timers.KindFlakeUpdate && s.FlakeUpdate != nil:
				return runFlakeUpdate(cmd.Context(), a.UI, timedFlakeUpdate(s.FlakeUpdate))
			}
			return hostapi.Refuse(fmt.Sprintf("%s does not say what the timer %s does", timers.File, k), "set it with ferry host timer "+string(k))
		},
	}
}
