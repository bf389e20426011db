package deploy

import (
	"fmt"
	"time"

	"ferry/internal/deploy/memory"
	"ferry/internal/deploy/restart"
	"ferry/internal/flake"
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
		System: p.plan.System, RegInfo: p.plan.RegInfo, Ran: p.guest.Current(), Commit: c,
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
func recall(m *memory.Note, p progress) (progress, error) {
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
	p.to = resolve(Request{
		Attribute: m.Attribute, Name: p.to.Name, Host: p.to.Host, HostSudo: p.to.HostSudo, Target: target, TargetSudo: sudo,
		Action: m.Action, UpdateFlake: c.UpdateFlake, Confirm: Confirm{
			NoRollback: c.Confirm.NoRollback, AcceptFailedUnits: c.Confirm.AcceptFailedUnits,
			Checks: c.Confirm.Checks, Command: c.Confirm.Command,
			Timeout: time.Duration(c.Confirm.Seconds) * time.Second,
		},
	}, flake.Fleet{})
	return p, nil
}
