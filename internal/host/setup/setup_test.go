package setup

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/host"
	"ferry/internal/host/units"
	"ferry/internal/nix"
)

// fakeSystem is a machine's systemd, Nix and accounts; the files are real.
type fakeSystem struct {
	systemd, unitFile string
	nix               nix.Version
	nixErr            error
	vms               []string
	users, groups     []string
	reloads           int
	fail              error // of addUser
}

func (f *fakeSystem) systemdVersion() (string, error)                 { return f.systemd, nil }
func (f *fakeSystem) nixVersion(context.Context) (nix.Version, error) { return f.nix, f.nixErr }
func (f *fakeSystem) fragment(context.Context, string) (string, error) {
	return f.unitFile, nil
}
func (f *fakeSystem) running(context.Context) ([]string, error) { return f.vms, nil }
func (f *fakeSystem) reload(context.Context) error              { f.reloads++; return nil }
func (f *fakeSystem) forget(context.Context) error              { return nil }
func (f *fakeSystem) close()                                    {}
func (f *fakeSystem) hasGroup(name string) (bool, error) {
	return slices.Contains(f.groups, name), nil
}
func (f *fakeSystem) hasUser(name string) (bool, error) {
	return slices.Contains(f.users, name), nil
}
func (f *fakeSystem) addGroup(_ context.Context, name string) error {
	f.groups = append(f.groups, name)
	return nil
}
func (f *fakeSystem) addUser(_ context.Context, name, _ string) error {
	if f.fail == nil {
		f.users = append(f.users, name)
	}
	return f.fail
}
func (f *fakeSystem) removeUser(_ context.Context, name string) error {
	f.users = slices.DeleteFunc(f.users, func(u string) bool { return u == name })
	return nil
}
func (f *fakeSystem) removeGroup(_ context.Context, name string) error {
	f.groups = slices.DeleteFunc(f.groups, func(g string) bool { return g == name })
	return nil
}

type machine struct {
	*Setup
	t   *testing.T
	sys *fakeSystem
}

// bare is a machine that has the directories of any, and nothing of ours.
func bare(t *testing.T) machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("setup gives directories to root")
	}
	root := t.TempDir()
	for _, dir := range []string{"/etc/systemd/system", "/usr/local/bin", "/var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(t.TempDir(), "ferry")
	if err := os.WriteFile(binary, []byte("ferry 1"), 0o755); err != nil {
		t.Fatal(err)
	}
	sys := &fakeSystem{systemd: "257.8-1~deb13u2", nix: nix.Version{Major: 2, Minor: 26}}
	return machine{Setup: &Setup{root: root, binary: binary, sys: sys}, t: t, sys: sys}
}

func (m machine) apply() *Report {
	m.t.Helper()
	r, err := m.Apply(m.t.Context(), false)
	if err != nil {
		m.t.Fatal(err)
	}
	if path := unitDir + "/microvm@.service"; m.has(path) {
		m.sys.unitFile = path
	}
	return r
}

func (m machine) remove() *Report {
	m.t.Helper()
	r, err := m.Remove(m.t.Context(), false)
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

func (m machine) has(path string) bool {
	_, err := os.Lstat(m.path(path))
	return err == nil
}

func (m machine) put(path, content string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(path)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(path), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// tree lists all there is: paths, modes, owners, contents, accounts.
func (m machine) tree() string {
	m.t.Helper()
	var b strings.Builder
	err := filepath.Walk(m.root, func(path string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		was, err := owners(fi)
		if err != nil {
			return err
		}
		content := []byte(nil)
		switch {
		case fi.Mode().IsRegular():
			content, err = os.ReadFile(path)
		case fi.Mode()&os.ModeSymlink != 0:
			target, rerr := os.Readlink(path)
			content, err = []byte(target), rerr
		}
		b.WriteString(strings.TrimPrefix(path, m.root) + " " + fi.Mode().String() + " " + string(rune('0'+was.UID%10)) + " " + sum(content) + "\n")
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return b.String() + strings.Join(m.sys.users, ",") + ";" + strings.Join(m.sys.groups, ",")
}

func (r *Report) find(name string) *Change {
	for i := range r.Changes {
		if r.Changes[i].Name == name {
			return &r.Changes[i]
		}
	}
	return nil
}

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

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(m machine)
		want  string
	}{
		"old systemd":      {func(m machine) { m.sys.systemd = "241 (241-7)" }, "has systemd 241"},
		"no Nix":           {func(m machine) { m.sys.nixErr = nix.ErrNoNix }, "nix was not found"},
		"old Nix":          {func(m machine) { m.sys.nix = nix.Version{Major: 2, Minor: 8} }, "has Nix 2.8"},
		"somebody's unit":  {func(m machine) { m.put(unitDir+"/microvm-virtiofsd@.service", "mine") }, "in the way: /etc/systemd/system/microvm-virtiofsd@.service"},
		"a file for a dir": {func(m machine) { m.put(stateDir, "") }, "is no directory"},
		"newer manifest":   {func(m machine) { m.put(manifestPath, `{"version": 99}`) }, "version 99"},
	} {
		t.Run(name, func(t *testing.T) {
			m := bare(t)
			c.spoil(m)
			before := m.tree()
			r, err := m.Apply(t.Context(), false)
			if err == nil || !strings.Contains(err.Error(), c.want) || !host.IsRefused(err) {
				t.Errorf("%+v, %v", r, err)
			}
			if m.tree() != before {
				t.Error("something was changed")
			}
		})
	}
}

// KF 13, the other way round: NixOS and other people's units are left alone.
func TestLeavesOthersAlone(t *testing.T) {
	for name, c := range map[string]struct {
		make func(m machine)
		want Outcome
	}{
		"NixOS":            {func(m machine) { m.put("/etc/NIXOS", "") }, OutcomeNixOS},
		"NixOS by name":    {func(m machine) { m.put("/etc/os-release", "NAME=NixOS\nID=nixos\n") }, OutcomeNixOS},
		"NixOS with units": {func(m machine) { m.put("/etc/NIXOS", ""); m.sys.unitFile = "/etc/static/x" }, OutcomeOther},
		"units elsewhere":  {func(m machine) { m.sys.unitFile = "/usr/lib/systemd/system/microvm@.service" }, OutcomeOther},
		"units in /etc": {func(m machine) {
			m.sys.unitFile = unitDir + "/microvm@.service"
			m.put(m.sys.unitFile, "[Service]\nExecStart=/bin/true\n")
		}, OutcomeOther},
	} {
		t.Run(name, func(t *testing.T) {
			m := bare(t)
			c.make(m)
			before := m.tree()
			r, err := m.Apply(t.Context(), false)
			if err != nil || r.Outcome != c.want || !strings.Contains(r.Advice, "microvm.nixosModules.host") {
				t.Errorf("%+v, %v", r, err)
			}
			if m.tree() != before {
				t.Error("something was changed")
			}
		})
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

// KF 8: while there are VMs, what they need stays.
func TestRemoveRefusesWithVMs_KF8(t *testing.T) {
	m := bare(t)
	m.apply()
	m.put(stateDir+"/web/current", "")
	m.sys.vms = []string{"microvm@cron.service"}
	before := m.tree()
	r, err := m.Remove(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "cron, web") || !host.IsRefused(err) || m.tree() != before {
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

func TestRemoveWithoutSetup(t *testing.T) {
	m := bare(t)
	before := m.tree()
	if r := m.remove(); r.Outcome != OutcomeUnchanged || m.tree() != before {
		t.Errorf("%+v", r)
	}
}
