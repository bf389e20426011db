package deploy

import (
	"fmt"
	"time"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Memory keeps what this machine knows of a deployment, for as long as it has
// not ended: whoever attaches to it later must not have to ask the host where to
// log in, and what to run there.
type Memory interface {
	Keep(id string, document any) error
	// Recall fills document, and reports whether there is one.
	Recall(id string, document any) (bool, error)
	Forget(id string) error
}

// memoryVersion changes whenever an older ferry could misunderstand a memory.
const memoryVersion = 1

// memory is what the operator keeps of a deployment, from the point on at which
// it can be attached to.
type memory struct {
	Version    int               `json:"version"`
	ID         string            `json:"id"`
	Attribute  microvm.Name      `json:"attribute"`
	Host       string            `json:"host"`
	HostSudo   bool              `json:"hostSudo,omitempty"`
	Target     string            `json:"target,omitempty"`
	TargetSudo bool              `json:"targetSudo,omitempty"`
	HostName   string            `json:"hostName,omitempty"` // of the new system
	Action     hostapi.Action    `json:"action"`
	System     microvm.StorePath `json:"system,omitempty"`
	RegInfo    string            `json:"regInfo,omitempty"`
	// Ran is what the guest ran before, where it was asked.
	Ran microvm.StorePath `json:"ran,omitempty"`
	// FailedBefore are the units that had failed before a restart; nil: unknown.
	FailedBefore *[]string `json:"failedBefore,omitempty"`
	// Commit is what the host is told to do, with the name, the runner and what
	// confirms it.
	Commit hostapi.CommitRequest `json:"commit"`
}

// remember writes down what the operator knows, before the host is told to do c.
// Without it the deployment goes on just as well; only attaching to it is harder.
func (r *run) remember(p progress, c hostapi.CommitRequest) progress {
	if r.Memory == nil {
		return p
	}
	m := memory{
		Version: memoryVersion, ID: r.id, Attribute: p.to.Attribute,
		Host: p.to.Host.String(), HostSudo: p.to.HostSudo,
		HostName: p.record.HostName, Action: p.to.Action,
		System: p.plan.System, RegInfo: p.plan.RegInfo, Ran: p.guest.current(), Commit: c,
	}
	if p.to.Target != nil {
		m.Target, m.TargetSudo = p.to.Target.String(), p.to.TargetSudo
	}
	if p.before.known {
		failed := append([]string{}, p.before.failed...) // none is not unknown
		m.FailedBefore = &failed
	}
	if err := r.Memory.Keep(r.id, m); err != nil {
		r.say.Warn("%v: to attach to it later, the flake and --target are needed", err)
	}
	p.standing.kept = true
	return p
}

// forget drops the memory of a deployment that has ended.
func (r *run) forget(p progress) {
	if !p.standing.kept || r.Memory == nil {
		return
	}
	if err := r.Memory.Forget(r.id); err != nil {
		r.say.Detail("what this machine knew of deployment %s is still there: %v", r.id, err)
	}
}

// remembered is what this machine knows of the deployment; nil: nothing.
func (r *run) remembered() *memory {
	if r.Memory == nil {
		return nil
	}
	var m memory
	switch found, err := r.Memory.Recall(r.id, &m); {
	case err != nil:
		r.say.Warn("what this machine knew of deployment %s is not used: %v", r.id, err)
		return nil
	case !found:
		return nil
	case m.Version != memoryVersion || m.ID != r.id:
		r.say.Warn("what this machine knew of deployment %s is not used: another version of ferry wrote it", r.id)
		return nil
	}
	return &m
}

// contradicts says why the host must be wrong about the deployment, or the user
// about the host.
func (m *memory) contradicts(id string, to Resolved, left *hostapi.Resumed) error {
	refuse := func(next, format string, args ...any) error {
		return &RefusedError{Message: fmt.Sprintf(format, args...), Next: next}
	}
	const elsewhere = "nothing was asked of the guest: find out what is wrong with that host"
	switch {
	case m.Host != to.Host.String():
		return refuse("attach to it there: --host "+m.Host, "deployment %s was begun from here on %s, not on %s", id, m.Host, to.Host)
	case m.Commit.Name != to.Name:
		return refuse(elsewhere, "deployment %s was begun from here for %s; %s says that it is for %s", id, m.Commit.Name, to.Host, to.Name)
	case m.Commit.Runner != left.Runner:
		return refuse(elsewhere, "deployment %s was begun from here with the runner %s; %s says %s", id, m.Commit.Runner, to.Host, left.Runner)
	case (m.Commit.Activation == hostapi.ActivateLive) != (left.Phase == ""):
		return refuse(elsewhere, "deployment %s was begun from here with the activation %q; %s says that it is in the phase %.40q", id, m.Commit.Activation, to.Host, left.Phase)
	}
	return nil
}

// recall is what the deployment knew when it was left. What the user named for
// this command counts more.
func (m *memory) recall(p progress) (progress, error) {
	c, req := m.Commit, p.attached.req
	p.plan = hostapi.Plan{
		Runner: c.Runner, System: m.System, HostName: m.HostName, RegInfo: m.RegInfo,
		Install: c.Install, Activation: c.Activation, WriteFlake: c.UpdateFlake != "",
	}
	p.record = microvm.Record{Name: c.Name, HostName: m.HostName}
	if c.Record != nil {
		p.record = *c.Record
	}
	p.generation, p.result.Generation = c.Generation, c.Generation
	p.attached = &attached{req: req, ran: m.Ran}
	if m.FailedBefore != nil {
		p.before = unitsBefore{failed: *m.FailedBefore, known: true}
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
