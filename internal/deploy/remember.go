package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/deploy/memory"
	"ferry/internal/deploy/request"
	"ferry/internal/deploy/restart"
	"ferry/internal/flake"
	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// memory is what this machine remembers of the deployment.
func (r *run) memory() memory.Memory {
	return memory.Memory{Store: r.Memory, ID: r.id, Report: r.say}
}

// remember writes down what the operator knows, before the host is told to do c.
func (r *run) remember(p progress, c hostapi.CommitRequest) progress {
	n := memory.Note{
		Attribute: p.to.Attribute, Host: p.to.Host.String(), HostSudo: p.to.HostSudo,
		HostName: p.hostName(), Action: p.to.Action,
		System: p.plan.System, RegInfo: p.plan.RegInfo, Ran: p.guest.Current(), Commit: *c.Open(),
	}
	if p.to.Target != nil {
		n.Target, n.TargetSudo = p.to.Target.String(), p.to.TargetSudo
	}
	if p.before.Known {
		failed := append([]string{}, p.before.Failed...) // none is not unknown
		n.FailedBefore = &failed
	}
	p.standing.kept = r.memory().Keep(n)
	return p
}

// recall is what the deployment knew when it was left. What the user named for
// this command counts more.
func recall(ctx context.Context, r *run, m *memory.Note, p progress) (progress, error) {
	c, req := m.Commit, p.attached.req
	p.plan, p.record = m.Plan(), m.Record()
	p.generation, p.result.Generation = c.Generation, c.Generation
	p.attached = &attached{req: req, ran: m.Ran}
	if m.FailedBefore != nil {
		p.before = restart.Units{Failed: *m.FailedBefore, Known: true}
	}
	target, sudo := req.Target, req.TargetSudo
	if target == nil && m.Target != "" {
		address, err := microvm.ParseAddress(m.Target)
		if err != nil || address.Local {
			return p, fmt.Errorf("what this machine knew of deployment %s is damaged: the target %.80q", m.ID, m.Target)
		}
		target, sudo = &address, sudo || m.TargetSudo
	}
	p.to = request.Resolve(request.Deploy{
		Attribute: m.Attribute, Name: p.to.Name, Host: p.to.Host, HostSudo: p.to.HostSudo, Target: target, TargetSudo: sudo,
		Action: m.Action, UpdateFlake: c.UpdateFlake, Confirm: request.Confirm{
			NoRollback: c.Confirm.NoRollback, AcceptFailedUnits: c.Confirm.AcceptFailedUnits,
			Checks: c.Confirm.Checks, Command: c.Confirm.Command,
			Timeout: time.Duration(c.Confirm.Seconds) * time.Second,
		},
	}, flake.Fleet{})
	withheld := c.Confirm.Withheld
	if c.Activation != hostapi.ActivateLive { // the host has made its checks
		withheld = slices.DeleteFunc(slices.Clone(withheld), func(name string) bool { return name != health.Command })
	}
	var err error
	p.to.Confirm, err = r.regain(ctx, p, withheld)
	return p, err
}

// regain completes what is remembered of the checks, which is kept without those
// that may contain a secret: they are named again, or the flake still has them.
func (r *run) regain(ctx context.Context, p progress, withheld []string) (request.Confirm, error) {
	c, left := p.to.Confirm.Regain(p.attached.req.Confirm, withheld)
	if len(left) == 0 {
		return c, nil
	}
	fleet, _, err := r.Evaluator.Fleet(ctx, p.attached.req.Source)
	if err == nil {
		c, left = c.Regain(request.Confirm{}.Or(fleet.VMs[p.to.Attribute].Health), left)
	}
	if len(left) == 0 {
		return c, nil
	}
	return c, &request.UsageError{
		Message: fmt.Sprintf("deployment %s was begun with checks that this machine does not keep, since they may contain a secret: %s", r.id, strings.Join(left, ", ")),
		Next:    "name them again with --check-http and --check-command, or attach where the flake has them",
	}
}
