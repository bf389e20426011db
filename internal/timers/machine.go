package timers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/rogpeppe/go-internal/diff"

	"ferry/internal/host/setup"
	"ferry/internal/hostapi"
)

// Request is what is to become of one timer.
type Request struct {
	Kind     Kind     `json:"kind"`
	Settings Settings `json:"settings"` // only what belongs to Kind counts
	Schedule Schedule `json:"schedule"`
	Remove   bool     `json:"remove,omitempty"`
	DryRun   bool     `json:"dryRun,omitempty"`
}

// Outcome is what a Request came to.
type Outcome string

// The outcomes.
const (
	OutcomeDone      Outcome = "set up"
	OutcomeUnchanged Outcome = "unchanged"
	OutcomePlanned   Outcome = "planned" // --dry-run
	OutcomeRemoved   Outcome = "removed"
	OutcomeNixOS     Outcome = "nixos" // its own configuration has to do it
)

// Change is a file that is written or removed.
type Change struct {
	Verb string `json:"verb"` // create, update or remove
	Name string `json:"name"`
	Diff string `json:"diff,omitempty"`

	content []byte
}

// Report answers a Request.
type Report struct {
	Timer   Kind     `json:"timer"`
	Outcome Outcome  `json:"outcome"`
	Changes []Change `json:"changes,omitempty"`
	Advice  string   `json:"advice,omitempty"` // Nix for a NixOS host
}

// systemd is what Machine needs of systemd.
type manager interface {
	// calendar says what is wrong with a calendar expression; empty: nothing.
	calendar(ctx context.Context, expression string) (string, error)
	reload(ctx context.Context) error
	enable(ctx context.Context, timer string) error
	disable(ctx context.Context, timer string) error
	look(ctx context.Context, k Kind) (Status, error)
	close()
}

// Machine is the host whose timers these are.
type Machine struct {
	root string // before every path; empty but in tests
	sys  manager
}

// Here is this machine; it needs root.
func Here(ctx context.Context) (*Machine, error) {
	if os.Geteuid() != 0 {
		return nil, hostapi.Refuse("timers of a host need root", "run it as root, or with --host-sudo")
	}
	sys, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	return &Machine{sys: sys}, nil
}

// Close lets go of systemd.
func (m *Machine) Close() { m.sys.close() }

func (m *Machine) path(p string) string { return filepath.Join(m.root, p) }

// Do sets a timer up, or removes it. Run again it changes what differs. The
// error is a *host.Failure where the machine can't have it; nothing is changed
// then.
func (m *Machine) Do(ctx context.Context, req Request) (*Report, error) {
	r := &Report{Timer: req.Kind, Outcome: OutcomeDone}
	if setup.IsNixOS(m.root) {
		r.Outcome, r.Advice = OutcomeNixOS, advice(req)
		return r, nil
	}
	changes, err := m.changes(ctx, req)
	if err != nil {
		return nil, err
	}
	r.Changes = changes
	switch {
	case len(changes) == 0 && req.Remove:
		r.Outcome = OutcomeUnchanged
		return r, nil
	case req.DryRun:
		r.Outcome = OutcomePlanned
		return r, nil
	case len(changes) == 0:
		r.Outcome = OutcomeUnchanged
	}
	// Half of it is no use: it goes on though nobody waits for it any more.
	if err := m.apply(context.WithoutCancel(ctx), req, changes); err != nil {
		return nil, err
	}
	if req.Remove {
		r.Outcome = OutcomeRemoved
	}
	return r, nil
}

func (m *Machine) changes(ctx context.Context, req Request) ([]Change, error) {
	now, err := Read(m.path(File))
	if err != nil && !req.Remove {
		return nil, err
	}
	if req.Remove {
		return m.removal(req.Kind, now, err == nil)
	}
	if err := m.check(ctx, req); err != nil {
		return nil, err
	}
	switch req.Kind {
	case KindUpdate:
		now.Update = req.Settings.Update
	case KindFlakeUpdate:
		now.FlakeUpdate = req.Settings.FlakeUpdate
	}
	settings, err := now.encode()
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, f := range []Change{
		{Name: File, content: settings},
		{Name: unitDir + "/" + req.Kind.service(), content: []byte(req.Kind.serviceFile())},
		{Name: unitDir + "/" + req.Kind.timer(), content: []byte(req.Kind.timerFile(req.Schedule))},
	} {
		differs, err := m.compare(&f)
		if err != nil {
			return nil, err
		}
		if differs {
			changes = append(changes, f)
		}
	}
	return changes, nil
}

// check refuses what the timer could not do.
func (m *Machine) check(ctx context.Context, req Request) error {
	if req.Kind == KindUpdate && req.Settings.Update == nil || req.Kind == KindFlakeUpdate && req.Settings.FlakeUpdate == nil {
		return fmt.Errorf("the timer %s has no settings", req.Kind)
	}
	if err := req.Settings.check(); err != nil {
		return hostapi.Refuse(err.Error(), "see docs/updates.md")
	}
	if len(req.Schedule.OnCalendar) == 0 {
		return hostapi.Refuse("--on-calendar is missing", "for example --on-calendar daily")
	}
	for _, c := range req.Schedule.OnCalendar {
		if strings.ContainsAny(c, "%\n\r") {
			return hostapi.Refuse(fmt.Sprintf("%.80q is not a calendar expression", c), "see man 7 systemd.time")
		}
		why, err := m.sys.calendar(ctx, c)
		if err != nil {
			return err
		}
		if why != "" {
			return hostapi.Refuse(fmt.Sprintf("%.80q is not a calendar expression: %s", c, why), "see man 7 systemd.time; for example daily, or `Mon..Fri 03:00`")
		}
	}
	if _, err := os.Stat(m.path(program)); err != nil {
		return hostapi.Refuse("the timer would run "+program+", which is not there", "`ferry host setup` puts it there where your ferry runs on the host, and says else what to do")
	}
	return nil
}

// compare finds how a file differs from what is wanted; one that is somebody
// else's is not touched.
func (m *Machine) compare(c *Change) (bool, error) {
	now, err := os.ReadFile(m.path(c.Name))
	if errors.Is(err, fs.ErrNotExist) {
		c.Verb, c.Diff = setup.Create, string(diff.Diff("/dev/null", nil, c.Name, c.content))
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if bytes.Equal(now, c.content) {
		return false, nil
	}
	if c.Name != File && !ours(now) {
		return false, notOurs(c.Name)
	}
	c.Verb, c.Diff = setup.Update, string(diff.Diff(c.Name, now, c.Name, c.content))
	return true, nil
}

func notOurs(name string) error {
	return hostapi.Refuse(name+" is not as ferry made it", "look at it and move it away; to adapt a unit of ferry's, use `systemctl edit`")
}

// removal takes one timer away, and its part of the settings. A file that can't
// be read goes with the last timer.
func (m *Machine) removal(k Kind, now Settings, readable bool) ([]Change, error) {
	var changes []Change
	for _, name := range []string{k.timer(), k.service()} {
		file := unitDir + "/" + name
		there, err := os.ReadFile(m.path(file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !ours(there) {
			return nil, notOurs(file)
		}
		changes = append(changes, Change{Verb: setup.Remove, Name: file})
	}
	if !readable {
		if _, err := os.Stat(m.path(unitDir + "/" + k.other().timer())); errors.Is(err, fs.ErrNotExist) {
			changes = append(changes, Change{Verb: setup.Remove, Name: File})
		}
		return changes, nil
	}
	set := now.Update != nil
	if k == KindUpdate {
		now.Update = nil
	} else {
		set = now.FlakeUpdate != nil
		now.FlakeUpdate = nil
	}
	if !set {
		return changes, nil
	}
	if now == (Settings{}) {
		return append(changes, Change{Verb: setup.Remove, Name: File}), nil
	}
	c := Change{Verb: setup.Update, Name: File}
	var err error
	c.content, err = now.encode()
	return append(changes, c), err
}

func (m *Machine) apply(ctx context.Context, req Request, changes []Change) error {
	if req.Remove {
		if err := m.sys.disable(ctx, req.Kind.timer()); err != nil {
			return err
		}
	}
	for _, c := range changes {
		full := m.path(c.Name)
		if c.Verb == setup.Remove {
			if err := os.Remove(full); err != nil {
				return fmt.Errorf("removing the timer: %w", err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return fmt.Errorf("setting the timer up: %w", err)
		}
		err := renameio.WriteFile(full, c.content, 0o644, renameio.WithTempDir(filepath.Dir(full)), renameio.WithStaticPermissions(0o644))
		if err != nil {
			return fmt.Errorf("writing %s: %w", c.Name, err)
		}
	}
	if err := m.sys.reload(ctx); err != nil {
		return err
	}
	if req.Remove {
		return nil
	}
	return m.sys.enable(ctx, req.Kind.timer())
}

func (s Settings) encode() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}
