package setup

import (
	"os"
	"strings"
	"testing"
)

// Where a package has brought ferry, timers run that one: a copy in /usr/local/bin
// would be found first, and stay old while the package is updated. A copy that an
// earlier setup made gives way, and comes back when the package is gone.
func TestFerryOfAPackage(t *testing.T) {
	m := bare(t)
	before := m.tree()
	m.apply()
	m.put(packaged, "a package's ferry")
	if r := m.apply(); r.Outcome != OutcomeDone || len(r.Changes) != 1 || r.Changes[0].Name != ferryPath || r.Changes[0].Verb != Update {
		t.Errorf("%+v", r)
	}
	if to, err := os.Readlink(m.path(ferryPath)); err != nil || to != packaged {
		t.Errorf("%q, %v", to, err)
	}
	if r := m.apply(); r.Outcome != OutcomeUnchanged {
		t.Errorf("%+v", r)
	}
	if err := os.RemoveAll(m.path("/usr/bin")); err != nil {
		t.Fatal(err)
	}
	if r := m.apply(); r.Outcome != OutcomeDone || len(r.Changes) != 1 {
		t.Errorf("%+v", r)
	}
	if fi, err := os.Lstat(m.path(ferryPath)); err != nil || !fi.Mode().IsRegular() {
		t.Errorf("%v, %v", fi, err)
	}
	if r := m.apply(); r.Outcome != OutcomeUnchanged {
		t.Errorf("%+v", r)
	}
	m.remove()
	if got := m.tree(); got != before {
		t.Errorf("left behind:\n%s", got)
	}
}

// It is as good as one that setup brings, and stays when the setup is undone.
func TestPackageWithoutFerryItself(t *testing.T) {
	m := bare(t)
	m.programs.Ferry = nil
	m.put(packaged, "a package's ferry")
	before := m.tree()
	if r := m.apply(); strings.Contains(strings.Join(r.Warnings, "\n"), "ferry itself") || !m.has(ferryPath) {
		t.Errorf("%+v", r)
	}
	m.remove()
	if got := m.tree(); got != before {
		t.Errorf("left behind:\n%s", got)
	}
}

// A copy that somebody has changed is theirs.
func TestPackageBesideAnEditedCopy(t *testing.T) {
	m := bare(t)
	m.apply()
	m.put(ferryPath, "mine")
	m.put(packaged, "a package's ferry")
	r := m.apply()
	if c := r.find(ferryPath); c == nil || c.Verb != Keep {
		t.Errorf("%+v", c)
	}
	if b, _ := os.ReadFile(m.path(ferryPath)); string(b) != "mine" {
		t.Errorf("it is %q", b)
	}
}

// A setup that ends between its announcement and the exchange can be done again,
// and undone.
func TestExchangeForThePackageIsInterrupted(t *testing.T) {
	for _, again := range []bool{true, false} {
		m := bare(t)
		before := m.tree()
		m.apply()
		made, err := m.readManifest()
		if err != nil {
			t.Fatal(err)
		}
		made.Unfinished = true
		made.Links[ferryPath] = packaged
		if err := m.writeManifest(made); err != nil {
			t.Fatal(err)
		}
		if again {
			m.put(packaged, "a package's ferry")
			m.apply()
			if to, err := os.Readlink(m.path(ferryPath)); err != nil || to != packaged {
				t.Errorf("%q, %v", to, err)
			}
			if err := os.RemoveAll(m.path("/usr/bin")); err != nil {
				t.Fatal(err)
			}
		}
		m.remove()
		if got := m.tree(); got != before {
			t.Errorf("left behind:\n%s", got)
		}
	}
}
