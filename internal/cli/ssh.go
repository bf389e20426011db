package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cli/terminal"
	"ferry/internal/cmdline"
	"ferry/internal/deploy/request"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/shell"
)

// sshOptions are those of `ferry ssh`.
type sshOptions struct {
	place   option.Place
	target  string
	through bool
	vsock   bool
}

func sshCommand(a *console.Console) *cobra.Command {
	var o sshOptions
	cmd := &cobra.Command{
		Use:   "ssh NAME [COMMAND…]",
		Short: "Log in to the system inside a VM, or run a command there",
		Long: `Starts your ssh to the system inside the VM. Its address is that of --target, else
the flake's ferry.vms.NAME.target, else the one that the last deployment recorded
on the VM's host, once you have confirmed it on the terminal. With --through-host
the connection goes through the host, for guests that only it can reach. With
--vsock the host itself logs in, with the keys that root has there, by its
` + "`microvm -s`" + `: for guests without a network.

Options of ferry stand before COMMAND; COMMAND is handed to the login shell there
as ssh does, and its exit code is ferry's.`,
		Example: `  ferry ssh web
  ferry ssh web --target root@web.example.com journalctl -b
  ferry ssh web --through-host systemctl --failed
  ferry ssh web --vsock`,
		RunE: func(cmd *cobra.Command, args []string) error {
			// What stands behind the name belongs to ferry up to the first word.
			if len(args) > 0 {
				if err := cmd.Flags().Parse(args[1:]); err != nil {
					return &cmdline.UsageError{Err: err, Next: "usage: " + cmd.UseLine()}
				}
				args = append(args[:1:1], cmd.Flags().Args()...)
			}
			if help, _ := cmd.Flags().GetBool("help"); help {
				return cmd.Help()
			}
			n, err := cmdline.VM(cmd, args, len(args))
			if err != nil {
				return err
			}
			f := remote.Foreground{Stdin: a.In, Stdout: a.Out, Stderr: a.Err, Command: option.SplitTwoValues(args[1:])}
			find := findGuest
			if o.vsock {
				if o.through || o.target != "" {
					return &cmdline.UsageError{Err: errors.New("--vsock goes with neither --target nor --through-host"), Next: "usage: " + cmd.UseLine()}
				}
				find = overVsock
			}
			if err := find(cmd.Context(), a, n, &o, &f); err != nil {
				return err
			}
			code, err := f.Run(cmd.Context())
			if err == nil && code != 0 {
				return commandExit(code)
			}
			return err
		},
	}
	o.place.AddFlags(cmd)
	cmd.Flags().StringVar(&o.target, "target", "", "the address of the system inside")
	cmd.Flags().BoolVar(&o.through, "through-host", false, "connect through the VM's host")
	cmd.Flags().BoolVar(&o.vsock, "vsock", false, "have the VM's host log in over vsock")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// overVsock makes f run the host's own `microvm -s`, ferry's or microvm.nix's.
func overVsock(ctx context.Context, a *console.Console, n microvm.Name, o *sshOptions, f *remote.Foreground) error {
	return a.WithManager(ctx, &o.place, func(m *manage.Manager) error {
		place, err := m.PlaceOf(ctx, n, o.place.Host, o.place.HostSudo)
		if err != nil {
			return err
		}
		words := []string{"microvm", "-s", string(n)}
		if place.Sudo {
			words = append([]string{"sudo"}, words...)
		}
		if len(f.Command) == 0 {
			f.Options = []string{"-t"}
		}
		f.Address, f.Command = place.Address, []string{shell.Quote(append(words, f.Command...)...)}
		return nil
	})
}

// findGuest fills in where to connect to. The connections that it needs for that
// are closed when it returns.
func findGuest(ctx context.Context, a *console.Console, n microvm.Name, o *sshOptions, f *remote.Foreground) error {
	if o.target != "" {
		address, err := option.TargetAddress(o.target)
		if err != nil {
			return err
		}
		f.Address = address
		if !o.through {
			return nil
		}
	}
	return a.WithManager(ctx, &o.place, func(m *manage.Manager) error {
		known := o.target != ""
		if !known {
			if address := m.VM(ctx, n).Target; address != nil {
				f.Address, known = *address, true
			}
		}
		if known && !o.through {
			return nil
		}
		place, err := m.PlaceOf(ctx, n, o.place.Host, o.place.HostSudo)
		if err != nil {
			return err
		}
		if o.through {
			f.Through = &place.Address
		}
		if known {
			return nil
		}
		h, err := m.Connect(ctx, place)
		if err != nil {
			return err
		}
		defer h.Close()
		address, err := h.RecordedTarget(ctx, n)
		if err != nil {
			return err
		}
		if address == nil {
			return &request.UsageError{
				Message: "the address of the system inside " + string(n) + " is not known: the flake does not say it, and no deployment on " + h.String() + " knew it",
				Next:    "name it with --target, or set ferry.vms." + n.Attribute() + ".target in the flake",
			}
		}
		if err := mayLogIn(ctx, a, place, n, *address); err != nil {
			return err
		}
		f.Address = *address
		return nil
	})
}

// mayLogIn asks whether the address that a host has recorded is that of its VM: it
// may be any machine's that the user can log in to. On the host itself the record is
// the user's own.
func mayLogIn(ctx context.Context, a *console.Console, place manage.Place, n microvm.Name, address microvm.Address) error {
	if place.Address.Local {
		return nil
	}
	yes, err := terminal.Confirmer(a.Err)(ctx, fmt.Sprintf("%s has recorded %s as the address of the system inside %s. Log in there?", place.Address, address, n))
	if err != nil || yes {
		return err
	}
	return &request.UsageError{
		Message: fmt.Sprintf("the address of the system inside %s is not known here: %s has recorded %s, which is not used unless you say so", n, place, address),
		Next:    fmt.Sprintf("if that is right: --target %s, or set ferry.vms.%s.target in the flake", address, n),
	}
}
