package microvmcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// maxEvaluations is how many flakes are evaluated at once: each may take
// gigabytes of memory.
const maxEvaluations = 4

// Check compares the VMs with what their flakes evaluate to, but for those that
// are named in except, have no flake or belong to the host's configuration. What
// goes wrong for one is noted in its CheckError.
func Check(ctx context.Context, e Evaluator, vms []hostapi.Listed, except []string) error {
	var group errgroup.Group
	group.SetLimit(maxEvaluations)
	for i := range vms {
		v := &vms[i]
		n, ok := v.VM()
		if !ok || slices.Contains(except, v.Name) || v.Declared {
			continue
		}
		if v.Flake == "" {
			v.CheckError = v.FlakeError
			continue
		}
		if flake.FixedInStore(v.Flake) {
			v.Problems = append(v.Problems, "its `flake` file holds a fixed path of the store: updates never find anything new")
		}
		group.Go(func() error {
			eval, err := e.Evaluate(ctx, flake.Source{Ref: v.Flake}, n)
			if err != nil {
				v.CheckError = err.Error()
				v.Fresh = hostapi.FreshUnknown
				return nil
			}
			v.Compare(eval.Record)
			return nil
		})
	}
	_ = group.Wait()
	return ctx.Err()
}

func (c *Command) list(ctx context.Context) error {
	vms, err := c.Machine.List(ctx)
	if err != nil {
		return err
	}
	if err := Check(ctx, c.Evaluate, vms, nil); err != nil {
		return err
	}
	var failed []microvm.Name
	done := 0
	for _, v := range vms {
		n, ok := v.VM()
		if !ok { // the script passes over what is no VM
			c.Report.Step(v.Name, "%s", strings.Join(v.Problems, "; "))
			continue
		}
		if err := c.Report.Text(line(&v)); err != nil {
			return err
		}
		for _, p := range v.Problems {
			if p == v.CheckError {
				continue
			}
			c.Report.Step(v.Name, "%s", p)
		}
		if v.CheckError != "" {
			c.Report.Problem(v.Name, errors.New(v.CheckError))
			failed = append(failed, n)
			continue
		}
		done++
	}
	if len(failed) > 0 {
		return &PartialError{Failed: failed, Done: done}
	}
	return nil
}

// line has the words and the order of microvm.nix's list, which scripts read.
func line(v *hostapi.Listed) string {
	n := microvm.Name(v.Name)
	current := version(v.CurrentSystem, v.Current)
	switch {
	case v.Current == "", v.Fresh == hostapi.FreshUnknown && v.CheckError == "":
		return fmt.Sprintf("%s: broken\n", n)
	case v.Fresh == hostapi.FreshOutdated:
		return fmt.Sprintf("%s: outdated(%s), rebuild(%s) and reboot: microvm -Ru %s\n", n, current, version(v.WantedSystem, v.Wanted), n)
	case v.CheckError != "":
		return fmt.Sprintf("%s: unknown(%s), not compared with its flake\n", n, current)
	case v.Fresh == hostapi.FreshWaits:
		running := version(v.Running, v.Booted)
		also := ""
		if v.Activation == hostapi.ActivateLive {
			also = fmt.Sprintf(" (or switch it live: ferry switch %s)", n)
		}
		return fmt.Sprintf("%s: stale(%s), reboot(%s): systemctl restart %s%s\n", n, running, current, n.Unit(), also)
	case v.Booted == "":
		return fmt.Sprintf("%s: current(%s), not booted: systemctl start %s\n", n, current, n.Unit())
	}
	return fmt.Sprintf("%s: current(%s)\n", n, current)
}

// version shows a system, or the runner where that does not say what is inside.
func version(system, runner microvm.StorePath) string {
	if system == "" {
		system = runner
	}
	return microvm.SystemBaseName(string(system))
}
