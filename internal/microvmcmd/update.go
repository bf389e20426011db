package microvmcmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/host"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// update rebuilds the named VMs, or all that can be. One that fails does not
// stop the rest.
func (c *Command) update(ctx context.Context, o Options) error {
	d, err := c.Deploy(ctx)
	if err != nil {
		return err
	}
	names := o.Names
	if len(names) == 0 {
		if names, err = c.updatable(ctx); err != nil {
			return err
		}
	}
	partial := &PartialError{}
	for _, n := range names {
		err := c.updateOne(ctx, d, n, o.Restart)
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted while updating %s: %w", n, ctx.Err())
		}
		if err == nil {
			partial.Done++
			continue
		}
		if len(names) == 1 {
			return fmt.Errorf("%s: %w", n, err)
		}
		c.Report.Problem(string(n), err)
		partial.Failed = append(partial.Failed, n)
		if partial.Err == nil {
			partial.Err = err
		}
	}
	if len(partial.Failed) > 0 {
		return partial
	}
	return nil
}

// updatable are all VMs that have a flake to be updated from; what is left out
// is named.
func (c *Command) updatable(ctx context.Context) ([]microvm.Name, error) {
	vms, err := c.Machine.List(ctx)
	if err != nil {
		return nil, err
	}
	var names []microvm.Name
	for _, v := range vms {
		n, ok := v.VM()
		switch {
		case !ok:
			c.Report.Step(v.Name, "left out: %s", strings.Join(v.Problems, "; "))
		case v.Declared:
			c.Report.Step(v.Name, "left out: the host's own configuration declares it")
		case v.Flake == "" && v.FlakeError == "":
			c.Report.Step(v.Name, "left out: it has no `flake` file")
		default: // what is wrong is said when it is tried
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		c.Report.Warn("no MicroVMs to update")
	}
	return names, nil
}

func (c *Command) updateOne(ctx context.Context, d Deployer, n microvm.Name, restart bool) error {
	ref, err := d.UpdateFlake(ctx, n)
	if err != nil {
		return err
	}
	if ref == "" {
		return &hostapi.Failure{
			Kind: hostapi.KindRefused, Message: "it has no `flake` file to update from",
			Hint: fmt.Sprintf("deploy it from where its flake is (ferry rebuild %s), which can leave one for the host (--update-flake REF)", n),
		}
	}
	c.warnFixed(n, ref)
	done, err := c.deploy(ctx, d, n, ref, host.UpdateRequest{Restart: restart})
	if err != nil {
		return err
	}
	c.warnings(n, done)
	return c.Report.Text(describe(n, done))
}

// describe says what was done and what is left to do.
func describe(n microvm.Name, done *host.Updated) string {
	var b strings.Builder
	p := done.Plan
	switch {
	case !p.Install:
		fmt.Fprintf(&b, "%s: up to date\n", n)
	default:
		fmt.Fprintf(&b, "%s: updated (generation %d)\n", n, done.Generation)
		for _, line := range p.Closure {
			fmt.Fprintf(&b, "  %s\n", line)
		}
		if len(p.Closure) == 0 && p.Previous != "" {
			fmt.Fprintln(&b, "  configuration only: no package changed")
		}
	}
	for _, h := range slices.Concat(p.Hardware, p.Inhibitors) {
		fmt.Fprintf(&b, "  %s\n", h)
	}
	fmt.Fprintf(&b, "  %s\n", next(n, done))
	return b.String()
}

// next says what brings the VM to what is installed.
func next(n microvm.Name, done *host.Updated) string {
	restart := "systemctl restart " + n.Unit()
	p := done.Plan
	switch {
	case done.Activated == hostapi.ActivateRestart:
		return "restarted"
	case done.Activated == hostapi.ActivateStart:
		return "started"
	case !done.Running:
		return "it is not running; start it with: systemctl start " + n.Unit()
	case p.Activation == hostapi.ActivateLive && len(p.Waits) > 0:
		return fmt.Sprintf("the system inside can be switched live (ferry switch %s, from the operator); the hardware needs a restart: %s", n, restart)
	case p.Activation == hostapi.ActivateLive:
		return fmt.Sprintf("it can be switched live (ferry switch %s, from the operator), or restarted: %s", n, restart)
	case p.Activation != hostapi.ActivateNone, len(p.Waits) > 0:
		return "needs a restart: " + restart
	}
	return "no restart needed"
}
