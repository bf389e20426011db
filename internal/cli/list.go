package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/flake"
	"ferry/internal/helper"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/microvmcmd"
	"ferry/internal/ui"
)

func listCommand(a *console.Console) *cobra.Command {
	var o option.Place
	check := false
	cmd := &cobra.Command{
		Use:   "list [HOST…]",
		Short: "List the VMs of hosts: what runs, what is installed, what waits",
		Long: `Lists the VMs of each HOST (an address, a name of ferry.hosts, or local; without
one all of the flake's ferry.hosts): whether they run, whether what is installed
runs already, and from which flake the host would update them.

A VM that is up to date runs what is installed. What waits is named, with what
brings it: a live switch or a restart. --check also compares what is installed
with what the flake yields now: the flake here for VMs that its ` + "`ferry`" + ` output
assigns to the host, else the one in the VM's ` + "`flake`" + ` file, on the host. Without
--check nothing is evaluated and no Nix runs.

States: running, stopped, failed, starting, stopping; unconfirmed: a deployment
was cut off, is being undone, or may still be confirmed; unknown: systemd does not
answer; no VM: a directory without a VM. Where some hosts or flakes can't be asked,
the others are listed.`,
		Example: `  ferry list
  ferry list root@server
  ferry list server1 server2 --check
  ferry list local --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runList(cmd.Context(), a, &o, args, check)
		},
	}
	o.AddFlakeFlags(cmd)
	cmd.Flags().BoolVar(&check, "check", false, "compare with what the flakes yield now")
	return cmd
}

func runList(ctx context.Context, a *console.Console, o *option.Place, hosts []string, check bool) error {
	return a.WithManager(ctx, o, func(m *manage.Manager) error {
		places, err := m.PlacesOf(ctx, hosts, o.HostSudo)
		if err != nil {
			return err
		}
		evaluator, ok := m.Fleets.(*flake.Evaluator)
		if !ok {
			return errors.New("no evaluator")
		}
		vms, err := m.List(ctx, manage.ListRequest{Places: places, Check: check, Evaluate: evaluator, Here: listHere(a)},
			func(host string, err error) { a.Problem(host, err) })
		var partial *manage.HostsError
		if err != nil && !errors.As(err, &partial) {
			return err
		}
		if perr := printList(a.UI, vms, len(places) > 1, check); perr != nil {
			return perr
		}
		return errors.Join(err, unchecked(vms))
	})
}

// listHere lists the VMs of this machine, which needs no root.
func listHere(a *console.Console) func(ctx context.Context, check bool, except []string) ([]hostapi.Listed, error) {
	return func(ctx context.Context, check bool, except []string) ([]hostapi.Listed, error) {
		return helper.List(ctx, a.Err, check, except)
	}
}

func printList(u *ui.UI, vms []manage.VM, withHost, check bool) error {
	if u.JSON {
		for _, v := range vms {
			if err := u.Data(v); err != nil {
				return err
			}
		}
		return nil
	}
	if len(vms) == 0 {
		u.Step("list", "no VMs")
		return nil
	}
	header := []string{"VM", "STATE", "STATUS", "SYSTEM", "GEN", "FLAKE"}
	if withHost {
		header = append([]string{"HOST"}, header...)
	}
	rows := listRows(vms, withHost, check)
	return u.Table(header, rows)
}

// unchecked is an error where flakes of VMs could not be evaluated.
func unchecked(vms []manage.VM) error {
	partial := &microvmcmd.PartialError{}
	for _, v := range vms {
		if v.CheckError != "" {
			partial.Failed = append(partial.Failed, microvm.Name(v.Name))
		} else {
			partial.Done++
		}
	}
	if len(partial.Failed) == 0 {
		return nil
	}
	return partial
}

func status(v *manage.VM) string {
	switch v.Fresh {
	case hostapi.FreshCurrent:
		return "up to date"
	case hostapi.FreshWaits:
		if v.Activation == hostapi.ActivateLive {
			return "waits for a switch"
		}
		return "waits for a restart"
	}
	return string(v.Fresh)
}

// remarks are what does not fit into a cell.
func remarks(v *manage.VM, check bool) []string {
	var out []string
	if v.Lock != nil {
		out = append(out, fmt.Sprintf("deployment %s by %s is under way since %s", v.Lock.Deployment, v.Lock.By, v.Lock.Since.Format("15:04:05 MST")))
	}
	if v.Fresh == hostapi.FreshWaits || v.Fresh == hostapi.FreshOutdated && len(v.Waits) > 0 {
		what := "a restart"
		if v.Activation == hostapi.ActivateLive {
			what = "a live switch (ferry switch " + v.Name + ") or a restart"
		}
		out = append(out, strings.Join(v.Waits, ", ")+": waits for "+what)
	}
	if v.Fresh == hostapi.FreshOutdated && v.WantedSystem != "" && v.WantedSystem != v.CurrentSystem {
		out = append(out, "the flake yields "+microvm.SystemBaseName(string(v.WantedSystem)))
	}
	if v.Declared {
		out = append(out, "the host's own configuration declares it")
	}
	if v.CheckError != "" && v.CheckError != v.FlakeError {
		out = append(out, "not compared: "+v.CheckError)
	}
	if _, ok := v.VM(); check && ok && v.Flake == "" && v.Wanted == "" && v.CheckError == "" && !v.Declared {
		out = append(out, "not compared: it has no `flake` file, and the flake here does not assign it to this host")
	}
	return slices.Concat(out, v.Problems)
}

func listRows(vms []manage.VM, withHost, check bool) []ui.Row {
	var rows []ui.Row
	for _, v := range vms {
		system := v.Running
		if system == "" {
			system = v.CurrentSystem
		}
		if system == "" {
			system = v.Current
		}
		generation := "-"
		if v.Generation > 0 {
			generation = strconv.Itoa(v.Generation)
		}
		cells := []string{v.Name, string(v.State), status(&v), microvm.SystemBaseName(string(system)), generation, orDash(v.Flake)}
		if withHost {
			cells = append([]string{v.Host}, cells...)
		}
		rows = append(rows, ui.Row{Cells: cells, Remarks: remarks(&v, check)})
	}
	return rows
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
