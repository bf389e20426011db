package setup

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/host/vmstate"
)

const (
	runnerA = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner"
	planted = "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-planted"
)

func (m machine) link(path, target string, uid int) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(path)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	_ = os.Remove(m.path(path))
	if err := os.Symlink(target, m.path(path)); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Lchown(m.path(path), uid, uid); err != nil {
		m.t.Fatal(err)
	}
}

// vm is one that microvm.nix's tools have given to the user microvm.
func (m machine) givenAway(current string) {
	m.link(stateDir+"/web/current", current, 999)
	m.link(stateDir+"/web/old", runnerA, 0)
	m.link("/nix/var/nix/profiles/ferry/web/runner-1-link", runnerA, 0)
	m.put(stateDir+"/web/flake", "git+https://flake")
	if err := os.Chown(m.path(stateDir+"/web"), 999, 999); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) refused() error {
	l := vmstate.Layout{StateDir: m.path(stateDir)}
	d, err := l.VM("web").Open()
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.Link("current")
	return err
}

// What microvm.nix's own tools gave to the user microvm is root's again after
// another setup: the directory, and links that point to generations.
func TestTakesBackWhatWasGivenAway(t *testing.T) {
	m := bare(t)
	m.apply()
	m.givenAway(runnerA)
	if err := m.refused(); err == nil || !strings.Contains(err.Error(), "is not protected") {
		t.Fatalf("a VM that anybody can change is used: %v", err)
	}
	plan, err := m.Apply(t.Context(), true)
	if err != nil || plan.Outcome != OutcomePlanned || plan.find(stateDir+"/web/current") == nil || m.refused() == nil {
		t.Fatalf("the plan is %+v, %v", plan, err)
	}
	r := m.apply()
	if r.Outcome != OutcomeDone || m.refused() != nil {
		t.Errorf("%+v, %v", r, m.refused())
	}
	fi, err := os.Lstat(m.path(stateDir + "/web"))
	if err != nil || fi.Mode() != fs.ModeDir|fs.ModeSticky|0o775 {
		t.Errorf("the directory is %v, %v", fi.Mode(), err)
	}
	if r := m.apply(); r.Outcome != OutcomeUnchanged || len(r.Changes) != 0 {
		t.Errorf("again: %+v", r)
	}
	// The VM is nothing that setup has made.
	made, err := m.readManifest()
	if err != nil || made.Links[stateDir+"/web/current"] != "" || len(made.Owners) != 0 {
		t.Errorf("%+v, %v", made, err)
	}
}

// A link that nobody but its owner knows of is not made root's: root would start
// what an escaped guest has put there.
func TestPlantedLinkIsNotTakenBack(t *testing.T) {
	m := bare(t)
	m.apply()
	m.givenAway(planted)
	if err := os.Lchown(m.path(stateDir+"/web/flake"), 999, 999); err != nil {
		t.Fatal(err)
	}
	r := m.apply()
	for _, name := range []string{"current", "flake"} {
		c := r.find(stateDir + "/web/" + name)
		if c == nil || c.Verb != Keep || !strings.Contains(c.Note, "chown -h root") {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if c := r.find(stateDir + "/web/current"); !strings.Contains(c.Note, planted) {
		t.Errorf("it is not said where it points: %s", c.Note)
	}
	if err := m.refused(); err == nil || !strings.Contains(err.Error(), "instead of root") {
		t.Errorf("the planted runner is used: %v", err)
	}
}
