// Package memory is what the operator's machine remembers of a deployment for as
// long as it has not ended: whoever attaches to it later must not have to ask the
// host where to log in, and what to run there. It owns the document and what in a
// host's answer contradicts it. It must not know where documents are kept.
package memory

import (
	"fmt"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Store keeps documents.
type Store interface {
	Keep(id string, document any) error
	// Recall fills document, and reports whether there is one.
	Recall(id string, document any) (bool, error)
	Forget(id string) error
}

// version changes whenever an older ferry could misunderstand a note: it would take
// one that withholds checks for one that has none.
const (
	version         = 1
	versionWithheld = 2
)

// Note is what is remembered, from the point on at which the deployment can be
// attached to.
type Note struct {
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

// Reporter is told what goes wrong with it: nothing of that stops a deployment.
type Reporter interface {
	Detail(format string, args ...any)
	Warn(format string, args ...any)
}

// Memory is that of one deployment.
type Memory struct {
	Store  Store // nil: nothing is kept
	ID     string
	Report Reporter
}

// Keep writes a note, before the host is told to do what it says. Without it the
// deployment goes on just as well; only attaching to it is harder. It reports
// whether something is kept.
func (m Memory) Keep(n Note) bool {
	if m.Store == nil {
		return false
	}
	n.Version, n.ID = version, m.ID
	if len(n.Commit.Confirm.Withheld) > 0 {
		n.Version = versionWithheld
	}
	if err := m.Store.Keep(m.ID, n); err != nil {
		m.Report.Warn("%v: to attach to it later, the flake and --target are needed", err)
	}
	return true
}

// Forget drops the note of a deployment that has ended.
func (m Memory) Forget() {
	if m.Store == nil {
		return
	}
	if err := m.Store.Forget(m.ID); err != nil {
		m.Report.Detail("what this machine knew of deployment %s is still there: %v", m.ID, err)
	}
}

// Recall is the note; nil: there is none.
func (m Memory) Recall() *Note {
	if m.Store == nil {
		return nil
	}
	var n Note
	switch found, err := m.Store.Recall(m.ID, &n); {
	case err != nil:
		m.Report.Warn("what this machine knew of deployment %s is not used: %v", m.ID, err)
		return nil
	case !found:
		return nil
	case n.Version != version && n.Version != versionWithheld || n.ID != m.ID:
		m.Report.Warn("what this machine knew of deployment %s is not used: another version of ferry wrote it", m.ID)
		return nil
	}
	return &n
}

// Plan is what was decided.
func (n *Note) Plan() hostapi.Plan {
	c := n.Commit
	return hostapi.Plan{
		Runner: c.Runner, System: n.System, HostName: n.HostName, RegInfo: n.RegInfo,
		Install: c.Install, Activation: c.Activation, WriteFlake: c.UpdateFlake != "",
	}
}

// Record is the runner's, as far as it was known.
func (n *Note) Record() microvm.Record {
	if n.Commit.Record != nil {
		return *n.Commit.Record
	}
	return microvm.Record{Name: n.Commit.Name, HostName: n.HostName}
}

// Contradicts says why the host must be wrong about the deployment of a VM, or the
// user about the host.
func (n *Note) Contradicts(host string, vm microvm.Name, left *hostapi.Resumed) error {
	refuse := func(next, format string, args ...any) error {
		return hostapi.Refuse(fmt.Sprintf(format, args...), next)
	}
	const elsewhere = "nothing was asked of the guest: find out what is wrong with that host"
	switch {
	case n.Host != host:
		return refuse("attach to it there: --host "+n.Host, "deployment %s was begun from here on %s, not on %s", n.ID, n.Host, host)
	case n.Commit.Name != vm:
		return refuse(elsewhere, "deployment %s was begun from here for %s; %s says that it is for %s", n.ID, n.Commit.Name, host, vm)
	case n.Commit.Runner != left.Runner:
		return refuse(elsewhere, "deployment %s was begun from here with the runner %s; %s says %s", n.ID, n.Commit.Runner, host, left.Runner)
	case (n.Commit.Activation == hostapi.ActivateLive) != (left.Phase == ""):
		return refuse(elsewhere, "deployment %s was begun from here with the activation %q; %s says that it is in the phase %.40q", n.ID, n.Commit.Activation, host, left.Phase)
	}
	return nil
}
