package deploy

import (
	"fmt"
	"time"

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
func (d *deployment) remember(c hostapi.CommitRequest) {
	if d.Memory == nil {
		return
	}
	m := memory{
		Version: memoryVersion, ID: d.id, Attribute: d.req.Attribute,
		Host: d.req.Host.String(), HostSudo: d.req.HostSudo,
		HostName: d.record.HostName, Action: d.req.Action,
		System: d.plan.System, RegInfo: d.plan.RegInfo, Ran: d.guest.current(), Commit: d.complete(c),
	}
	if d.req.Target != nil {
		m.Target, m.TargetSudo = d.req.Target.String(), d.req.TargetSudo
	}
	if d.before.known {
		failed := append([]string{}, d.before.failed...) // none is not unknown
		m.FailedBefore = &failed
	}
	if err := d.Memory.Keep(d.id, m); err != nil {
		d.Report.Warn("%v: to attach to it later, the flake and --target are needed", err)
	}
	d.kept = true
}

// forget drops the memory of a deployment that has ended.
func (d *deployment) forget() {
	if !d.kept || d.Memory == nil {
		return
	}
	if err := d.Memory.Forget(d.id); err != nil {
		d.Report.Detail(d.subject(), "what this machine knew of deployment %s is still there: %v", d.id, err)
	}
}

// remembered is what this machine knows of the deployment; nil: nothing.
func (d *deployment) remembered() *memory {
	if d.Memory == nil {
		return nil
	}
	var m memory
	switch found, err := d.Memory.Recall(d.id, &m); {
	case err != nil:
		d.Report.Warn("what this machine knew of deployment %s is not used: %v", d.id, err)
		return nil
	case !found:
		return nil
	case m.Version != memoryVersion || m.ID != d.id:
		d.Report.Warn("what this machine knew of deployment %s is not used: another version of ferry wrote it", d.id)
		return nil
	}
	return &m
}

// contradicts says why the host must be wrong about the deployment, or the user
// about the host.
func (m *memory) contradicts(d *deployment, r *hostapi.Resumed) error {
	refuse := func(next, format string, args ...any) error {
		return &RefusedError{Message: fmt.Sprintf(format, args...), Next: next}
	}
	const elsewhere = "nothing was asked of the guest: find out what is wrong with that host"
	switch {
	case m.Host != d.req.Host.String():
		return refuse("attach to it there: --host "+m.Host, "deployment %s was begun from here on %s, not on %s", d.id, m.Host, d.req.Host)
	case m.Commit.Name != d.req.Name:
		return refuse(elsewhere, "deployment %s was begun from here for %s; %s says that it is for %s", d.id, m.Commit.Name, d.req.Host, d.req.Name)
	case m.Commit.Runner != r.Runner:
		return refuse(elsewhere, "deployment %s was begun from here with the runner %s; %s says %s", d.id, m.Commit.Runner, d.req.Host, r.Runner)
	case (m.Commit.Activation == hostapi.ActivateLive) != (r.Phase == ""):
		return refuse(elsewhere, "deployment %s was begun from here with the activation %q; %s says that it is in the phase %.40q", d.id, m.Commit.Activation, d.req.Host, r.Phase)
	}
	return nil
}

// recall is what the deployment knew when it was left. What the user named for
// this command counts more.
func (d *deployment) recall(m *memory) error {
	c := m.Commit
	d.plan = hostapi.Plan{
		Runner: c.Runner, System: m.System, HostName: m.HostName, RegInfo: m.RegInfo,
		Install: c.Install, Activation: c.Activation, WriteFlake: c.UpdateFlake != "",
	}
	d.record = microvm.Record{Name: c.Name, HostName: m.HostName}
	if c.Record != nil {
		d.record = *c.Record
	}
	if c.Generation != 0 {
		d.back = &goBack{to: hostapi.Generation{Number: c.Generation, Runner: c.Runner}}
	}
	d.attached = &attached{ran: m.Ran}
	d.req.Attribute, d.req.Action = m.Attribute, m.Action
	d.req.UpdateFlake, d.result.Generation = c.UpdateFlake, c.Generation
	d.req.Confirm = Confirm{
		NoRollback: c.Confirm.NoRollback, AcceptFailedUnits: c.Confirm.AcceptFailedUnits,
		Checks: c.Confirm.Checks, Command: c.Confirm.Command,
		Timeout: time.Duration(c.Confirm.Seconds) * time.Second,
	}
	if m.FailedBefore != nil {
		d.before = unitsBefore{failed: *m.FailedBefore, known: true}
	}
	if d.req.Target == nil && m.Target != "" {
		address, err := microvm.ParseAddress(m.Target)
		if err != nil || address.Local {
			return fmt.Errorf("what this machine knew of deployment %s is damaged: the target %.80q", d.id, m.Target)
		}
		d.req.Target, d.req.TargetSudo = &address, d.req.TargetSudo || m.TargetSudo
	}
	return nil
}
