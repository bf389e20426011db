package setup

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
	// binary is ferry, as it is at hand.
	binary string
}

// bare is a machine that has the directories of any, and nothing of ours.
func bare(t *testing.T) machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("setup gives directories to root")
	}
	root := t.TempDir()
	for _, dir := range []string{"/etc/systemd/system", "/usr/local/bin", "/var/lib", "/run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(t.TempDir(), "ferry")
	if err := os.WriteFile(binary, []byte("ferry 1"), 0o755); err != nil {
		t.Fatal(err)
	}
	sys := &fakeSystem{systemd: "257.8-1~deb13u2", nix: nix.Version{Major: 2, Minor: 26}}
	programs := Programs{
		Helper: func() ([]byte, error) { return []byte("helper"), nil },
		Ferry:  func() ([]byte, error) { return os.ReadFile(binary) },
	}
	return machine{Setup: &Setup{root: root, programs: programs, sys: sys, group: "root"}, t: t, sys: sys, binary: binary}
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
