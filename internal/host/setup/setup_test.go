package setup

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"ferry/internal/host/units"
	"ferry/internal/hostapi"
)

func TestApplyTwiceAndRemove(t *testing.T) {
	m := bare(t)
	m.sys.groups = []string{"kvm"} // as Debian's systemd has it
	before := m.tree()

	dry, err := m.Apply(t.Context(), true)
	if err != nil || dry.Outcome != OutcomePlanned {
		t.Fatalf("%+v, %v", dry, err)
	}
	if m.tree() != before {
		t.Fatal("a dry run changed something")
	}
	if c := dry.find(unitDir + "/microvms.target"); c == nil || !strings.Contains(c.Diff, "+Description=MicroVMs that start with the host") {
		t.Errorf("the diff of a new unit: %+v", c)
	}

	if r := m.apply(); r.Outcome != OutcomeDone || len(r.Changes) != len(dry.Changes) {
		t.Fatalf("%+v", r)
	}
	for _, u := range units.All() {
		if !m.has(unitDir + "/" + u.Name) {
			t.Errorf("%s is missing", u.Name)
		}
	}
	if !slices.Contains(m.sys.users, "microvm") || m.sys.reloads != 1 {
		t.Errorf("users %v, %d reloads", m.sys.users, m.sys.reloads)
	}
	after := m.tree()
	if r := m.apply(); r.Outcome != OutcomeUnchanged || len(r.Changes) != 0 || m.tree() != after || m.sys.reloads != 1 {
		t.Errorf("the second run: %+v", r)
	}

	if r := m.remove(); r.Outcome != OutcomeRemoved {
		t.Errorf("%+v", r)
	}
	if got := m.tree(); got != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", got, before)
	}
}

// What was there already is neither made nor removed.
func TestRemoveKeepsWhatWasThere(t *testing.T) {
	m := bare(t)
	m.sys.groups, m.sys.users = []string{"kvm"}, []string{"microvm"}
	m.put("/etc/systemd/system/multi-user.target.wants/other.target", "")
	if err := os.MkdirAll(m.path(stateDir), 0o775); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(m.path(stateDir), 4711, 4712); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(m.path(stateDir), 0o775); err != nil {
		t.Fatal(err)
	}
	before := m.tree()
	m.apply()
	if fi, err := os.Stat(m.path(stateDir)); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("the state directory: %v, %v", fi.Mode(), err)
	}
	m.remove()
	if got := m.tree(); got != before {
		t.Errorf("after:\n%s\nbefore:\n%s", got, before)
	}
}

// A directory that was taken over, and that somebody has deleted since, has no
// owner to be given back to.
func TestRemoveWhereATakenDirectoryIsGone(t *testing.T) {
	m := bare(t)
	if err := os.MkdirAll(m.path(stateDir), 0o775); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(m.path(stateDir), 4711, 4712); err != nil {
		t.Fatal(err)
	}
	m.apply()
	if err := os.Remove(m.path(stateDir)); err != nil {
		t.Fatal(err)
	}
	if r := m.remove(); r.Outcome != OutcomeRemoved || r.find(stateDir) != nil || m.has(libDir) {
		t.Errorf("%+v", r)
	}
	// Deleted between the plan and its step.
	made := newManifest()
	made.Owners[stateDir] = owned{UID: 4711, GID: 4712, Mode: 0o775}
	if err := m.undoOne(t.Context(), Change{Verb: Update, Kind: "directory", Name: stateDir}, made); err != nil {
		t.Error(err)
	}
}

func TestEditedFilesStay(t *testing.T) {
	m := bare(t)
	m.apply()
	edited := unitDir + "/microvms.target"
	m.put(edited, "[Unit]\nDescription=mine\n")
	if r := m.apply(); r.Outcome != OutcomeUnchanged || r.find(edited) == nil || r.find(edited).Verb != Keep {
		t.Errorf("%+v", r)
	}
	r := m.remove()
	if c := r.find(edited); c == nil || c.Verb != Keep {
		t.Errorf("%+v", c)
	}
	if b, _ := os.ReadFile(m.path(edited)); !strings.Contains(string(b), "mine") {
		t.Error("somebody's file was touched")
	}
}

// A newer ferry replaces what an older one wrote, and drops what it needs no more.
func TestUpgrade(t *testing.T) {
	m := bare(t)
	m.apply()
	if err := os.WriteFile(m.binary, []byte("ferry 2"), 0o755); err != nil {
		t.Fatal(err)
	}
	gone := unitDir + "/microvm-of-old@.service"
	made, err := m.readManifest()
	if err != nil {
		t.Fatal(err)
	}
	m.put(gone, "old")
	made.Files[gone] = madeFile{SHA256: sum([]byte("old"))}
	if err := m.writeManifest(made); err != nil {
		t.Fatal(err)
	}
	r := m.apply()
	if c := r.find(ferryPath); c == nil || c.Verb != Update {
		t.Errorf("%+v", c)
	}
	if m.has(gone) {
		t.Error("the old unit is still there")
	}
	if b, _ := os.ReadFile(m.path(ferryPath)); string(b) != "ferry 2" {
		t.Errorf("ferry is %q", b)
	}
	if r := m.apply(); r.Outcome != OutcomeUnchanged {
		t.Errorf("%+v", r)
	}
}

// A setup that fails in the middle is completed by the next, or removed.
func TestInterrupted(t *testing.T) {
	for _, again := range []bool{true, false} {
		m := bare(t)
		before := m.tree()
		m.sys.fail = os.ErrPermission
		if _, err := m.Apply(t.Context(), false); err == nil || !strings.Contains(err.Error(), "run it again") {
			t.Fatalf("%v", err)
		}
		m.sys.fail = nil
		if again {
			if r := m.apply(); r.Outcome != OutcomeDone {
				t.Errorf("%+v", r)
			}
		}
		m.remove()
		if got := m.tree(); got != before {
			t.Errorf("left behind:\n%s", got)
		}
	}
}

// A ferry or `microvm` that somebody else put there stays, and setup goes on.
func TestOthersBinaryStays(t *testing.T) {
	m := bare(t)
	m.put(ferryPath, "a package's ferry")
	m.put(dropInPath, "a script")
	r := m.apply()
	for _, p := range []string{ferryPath, dropInPath} {
		if c := r.find(p); c == nil || c.Verb != Keep {
			t.Errorf("%s: %+v", p, c)
		}
	}
	m.remove()
	if b, _ := os.ReadFile(m.path(ferryPath)); string(b) != "a package's ferry" || !m.has(dropInPath) {
		t.Error("somebody else's program was removed")
	}
}

// While there are VMs, what they need stays.
// microvm-nix/microvm.nix#67, #181, #302, #508
func TestRemoveRefusesWithVMs(t *testing.T) {
	m := bare(t)
	m.apply()
	m.put(stateDir+"/web/current", "")
	m.sys.vms = []string{"microvm@cron.service"}
	before := m.tree()
	r, err := m.Remove(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "cron, web") || !hostapi.IsRefused(err) || m.tree() != before {
		t.Errorf("%+v, %v", r, err)
	}
	// Data that a removed VM left is kept, and so is who owns it.
	m.sys.vms = nil
	if err := os.Remove(m.path(stateDir + "/web/current")); err != nil {
		t.Fatal(err)
	}
	m.put(stateDir+"/web/disk.img", "data")
	r = m.remove()
	if c := r.find(stateDir); c == nil || c.Verb != Keep || !m.has(stateDir+"/web/disk.img") || !slices.Contains(m.sys.users, "microvm") {
		t.Errorf("%+v", r)
	}
	if m.has(libDir) {
		t.Error("ferry's notes are left")
	}
}

// A timer would go on without the ferry that it starts.
func TestRemoveRefusesWithTimers(t *testing.T) {
	m := bare(t)
	m.apply()
	m.put(unitDir+"/ferry-flake-update.timer", "")
	before := m.tree()
	r, err := m.Remove(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "flake-update") || !hostapi.IsRefused(err) || m.tree() != before {
		t.Errorf("%+v, %v", r, err)
	}
}

// What was made and systemd has not heard of is told by the next run.
func TestReloadIsMadeUpFor(t *testing.T) {
	m := bare(t)
	m.apply()
	made, err := m.readManifest()
	if err != nil {
		t.Fatal(err)
	}
	made.Unfinished = true
	if err := m.writeManifest(made); err != nil {
		t.Fatal(err)
	}
	before := m.sys.reloads
	if r := m.apply(); r.Outcome != OutcomeDone || m.sys.reloads != before+1 {
		t.Errorf("%+v, %d reloads", r, m.sys.reloads-before)
	}
	if r := m.apply(); r.Outcome != OutcomeUnchanged || m.sys.reloads != before+1 {
		t.Errorf("%+v, %d reloads", r, m.sys.reloads-before)
	}
}

func TestOneAtATime(t *testing.T) {
	m := bare(t)
	unlock, err := m.lock()
	if err != nil {
		t.Fatal(err)
	}
	var f *hostapi.Failure
	if _, err := m.Apply(t.Context(), false); !errors.As(err, &f) || f.Kind != hostapi.KindLocked {
		t.Errorf("%v", err)
	}
	if _, err := m.Remove(t.Context(), false); !errors.As(err, &f) || f.Kind != hostapi.KindLocked {
		t.Errorf("%v", err)
	}
	unlock()
	m.apply()
}

// The VMs may be on another disk.
func TestStateDirIsALink(t *testing.T) {
	m := bare(t)
	if err := os.MkdirAll(m.path("/data/vms"), 0o775); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.path("/data/vms"), m.path(stateDir)); err != nil {
		t.Fatal(err)
	}
	before := m.tree()
	m.apply()
	if r := m.apply(); r.Outcome != OutcomeUnchanged {
		t.Errorf("%+v", r)
	}
	m.remove()
	if got := m.tree(); got != before {
		t.Errorf("after:\n%s\nbefore:\n%s", got, before)
	}
}

func TestRemoveWithoutSetup(t *testing.T) {
	m := bare(t)
	before := m.tree()
	if r := m.remove(); r.Outcome != OutcomeUnchanged || m.tree() != before {
		t.Errorf("%+v", r)
	}
}

// A host that an older ferry has set up, which was its own helper.
func TestTakesOverAnOlderSetup(t *testing.T) {
	for _, atHand := range []bool{true, false} {
		m := bare(t)
		before := m.tree()
		m.apply()
		made, err := m.readManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{helperPath, dropInPath} {
			if err := os.Remove(m.path(p)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("ferry", m.path(dropInPath)); err != nil {
			t.Fatal(err)
		}
		delete(made.Files, helperPath)
		made.Links[dropInPath] = "ferry"
		if err := m.writeManifest(made); err != nil {
			t.Fatal(err)
		}
		if !atHand {
			m.programs.Ferry = nil
		}
		r := m.apply()
		if c := r.find(dropInPath); c == nil || c.Verb != Update || r.find(helperPath).Verb != Create || r.find(ferryPath) != nil {
			t.Errorf("%+v", r.Changes)
		}
		if to, err := os.Readlink(m.path(dropInPath)); to != "ferry-helper" || !m.has(ferryPath) {
			t.Errorf("microvm is %s, %v", to, err)
		}
		if warned := strings.Contains(strings.Join(r.Warnings, "\n"), "stays as it is"); warned == atHand {
			t.Errorf("%v", r.Warnings)
		}
		if r := m.apply(); r.Outcome != OutcomeUnchanged {
			t.Errorf("%+v", r)
		}
		m.remove()
		if got := m.tree(); got != before {
			t.Errorf("left behind:\n%s\nbefore:\n%s", got, before)
		}
	}
}

// Cut off between the manifest and the link, or undone by a later ferry.
func TestRemoveOfAFormerLink(t *testing.T) {
	m := bare(t)
	before := m.tree()
	m.apply()
	if err := os.Remove(m.path(dropInPath)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("ferry", m.path(dropInPath)); err != nil {
		t.Fatal(err)
	}
	m.remove()
	if got := m.tree(); got != before {
		t.Errorf("left behind:\n%s", got)
	}
}

// An operator whose ferry can't run on the host brings the helper alone, and says
// what for ferry itself is missing.
func TestWithoutFerryItself(t *testing.T) {
	m := bare(t)
	m.programs.Ferry = nil
	before := m.tree()
	r := m.apply()
	if warnings := strings.Join(r.Warnings, "\n"); r.Outcome != OutcomeDone || m.has(ferryPath) || !strings.Contains(warnings, "timers and `ferry … local` need") || !strings.Contains(warnings, "make build") {
		t.Errorf("%+v", r)
	}
	if to, err := os.Readlink(m.path(dropInPath)); err != nil || to != "ferry-helper" || !m.has(helperPath) {
		t.Errorf("%s, %v", to, err)
	}
	m.remove()
	if got := m.tree(); got != before {
		t.Errorf("left behind:\n%s", got)
	}
}

// Units start the helper: somebody else's program in its place is refused.
func TestOthersHelperIsRefused(t *testing.T) {
	m := bare(t)
	m.put(helperPath, "somebody's")
	before := m.tree()
	if _, err := m.Apply(t.Context(), false); !hostapi.IsRefused(err) || !strings.Contains(err.Error(), helperPath) || m.tree() != before {
		t.Errorf("%v", err)
	}
}
