package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/doctor"
	"ferry/internal/doctor/visit"
	"ferry/internal/flake"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
	"ferry/internal/ui"
)

// doctorOptions are those of `ferry doctor`.
type doctorOptions struct {
	place      option.Place
	targetSudo bool
	timeout    int
}

func doctorCommand(a *console.Console) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor [HOST [TARGET]]",
		Short: "Check this machine, a host and a guest for what would make a deployment fail",
		Long: `Checks this machine, and HOST (an address, a name of ferry.hosts in the flake, or
` + "`local`" + `), and the system inside a VM at TARGET (an address, or a VM of ferry.vms):
Nix, SSH, login shells, sudo, disks, units, owners, and what was left unfinished.
Each finding has its cure. With --verbose what is well is printed, too.

Nothing is changed, and nothing of the helper stays on HOST. No check waits without
end: what can't be found out is reported as unknown. The exit code is 1 where a
deployment would fail. What each check means: docs/doctor.md.`,
		Example: `  ferry doctor
  ferry doctor server
  ferry doctor server web
  ferry doctor root@server root@web.example.com --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 2:
				return &cmdline.UsageError{Err: errors.New("doctor takes a host and a target"), Next: "usage: " + cmd.UseLine()}
			case o.timeout < 1 || o.timeout > 3600:
				return &cmdline.UsageError{Err: fmt.Errorf("--timeout must be from 1 to 3600 seconds, not %d", o.timeout), Next: "usage: " + cmd.UseLine()}
			}
			return runDoctor(cmd.Context(), a, &o, args)
		},
	}
	o.place.AddFlakeFlags(cmd)
	cmd.Flags().BoolVar(&o.targetSudo, "target-sudo", false, "become root in the guest with sudo")
	cmd.Flags().IntVar(&o.timeout, "timeout", int(visit.DefaultLimit.Seconds()), "seconds that a login, and then its shell, may take")
	return cmd
}

// flakeLimit bounds the evaluation of the flake's `ferry` output.
const flakeLimit = 3 * time.Minute

func runDoctor(ctx context.Context, a *console.Console, o *doctorOptions, args []string) error {
	return a.WithManager(ctx, &o.place, func(m *manage.Manager) error {
		v := &visit.Visit{Nix: &nix.Nix{Program: "nix"}, SocketDir: m.SocketDir, AskPassword: m.AskPassword, Limit: time.Duration(o.timeout) * time.Second}
		fl := visit.Flake{There: m.HasFlake()}
		if fl.There {
			within, cancel := context.WithTimeout(ctx, flakeLimit)
			fl.Fleet, fl.Err = m.Fleet(within)
			cancel()
		}
		patient, err := patientsOf(ctx, m, o, args, fl)
		if err != nil {
			return err
		}
		all := v.Operator(ctx, fl)
		if err := showFindings(ctx, a.UI, all); err != nil {
			return err
		}
		found, err := examineAway(ctx, a, v, patient)
		if err != nil {
			return err
		}
		all = append(all, found...)
		if err := doctor.Verdict(all); err != nil {
			return err
		}
		a.UI.Step("doctor", "no problem found: %d of %d checks are well", doctor.Count(all, doctor.OK), len(all))
		return nil
	})
}

// patients are the machines besides this one.
type patients struct {
	host, guest *visit.Machine
	vm          string // its name, where the flake knows it
}

func patientsOf(ctx context.Context, m *manage.Manager, o *doctorOptions, args []string, fl visit.Flake) (patients, error) {
	var p patients
	if len(args) == 0 {
		return p, nil
	}
	place, err := m.Place(ctx, args[0], o.place.HostSudo)
	if err != nil {
		return p, err
	}
	p.host = &visit.Machine{Name: place.String(), Address: place.Address, Sudo: place.Sudo}
	if len(args) == 1 {
		return p, nil
	}
	guest, err := guestOf(args[1], fl.Fleet)
	if err != nil {
		return p, err
	}
	if _, named := fl.Fleet.VMs[microvm.Name(args[1])]; named && guest.vm == "" {
		m.Report.Warn("%s has no target in the flake's ferry.vms: it is taken as an address", args[1])
	}
	guest.Sudo = guest.Sudo || o.targetSudo
	p.guest, p.vm = &guest.Machine, guest.vm
	return p, nil
}

// inside is the system inside a VM, and the VM's name where the flake knows it.
type inside struct {
	visit.Machine
	vm string
}

// guestOf finds what is meant by TARGET: a VM that has a target in the flake, or an
// address, which may be that of one.
func guestOf(word string, fleet flake.Fleet) (inside, error) {
	g := inside{Machine: visit.Machine{Name: word}}
	if vm := fleet.VMs[microvm.Name(word)]; vm.Target != nil {
		g.Address, g.Sudo, g.vm = *vm.Target, vm.TargetSudo, word
		return g, nil
	}
	var err error
	if g.Address, err = option.TargetAddress(word); err != nil {
		return g, err
	}
	found := 0
	for name, vm := range fleet.VMs {
		if vm.Target != nil && *vm.Target == g.Address {
			found++
			g.vm, g.Sudo = string(name), g.Sudo || vm.TargetSudo
		}
	}
	if found > 1 { // it can be only one of them
		g.vm = ""
	}
	return g, nil
}

// examineAway looks at the other machines, and prints what is found there.
func examineAway(ctx context.Context, a *console.Console, v *visit.Visit, p patients) ([]doctor.Finding, error) {
	if p.host == nil {
		return nil, nil
	}
	var target *visit.Target
	if p.guest != nil {
		target = &visit.Target{Address: p.guest.Address, VM: p.vm}
	}
	seen := v.Host(ctx, *p.host, target)
	if err := showFindings(ctx, a.UI, seen.Found); err != nil || p.guest == nil {
		return seen.Found, err
	}
	found := v.Guest(ctx, *p.guest, p.vm, seen.Facts)
	return append(seen.Found, found...), showFindings(ctx, a.UI, found)
}

// showFindings prints nothing of what an interrupted run has not found.
func showFindings(ctx context.Context, u *ui.UI, found []doctor.Finding) error {
	if ctx.Err() != nil {
		return remote.Interrupted(ctx, "")
	}
	if !u.JSON {
		return u.Text(doctor.Text(found, u.Verbose))
	}
	for _, f := range found {
		if err := u.Data(f); err != nil {
			return err
		}
	}
	return nil
}
