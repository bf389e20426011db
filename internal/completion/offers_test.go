package completion

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/microvm"
)

// desk is a flake, a cache, and a renewal that the test decides about.
type desk struct {
	t       *testing.T
	dir     string // of the flake
	offers  *Offers
	started int
	yields  string // what the evaluation gives; empty: it fails
	hangs   bool
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, dir: filepath.Join(t.TempDir(), "flake"), yields: `{"vms":{"web":{}}}`}
	d.write("flake.nix", "1")
	d.offers = &Offers{Dir: filepath.Join(t.TempDir(), "cache"), Start: d.start}
	return d
}

func (d *desk) write(name, content string) {
	d.t.Helper()
	file := filepath.Join(d.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) start(ref string) (<-chan struct{}, error) {
	d.started++
	ended := make(chan struct{})
	if d.hangs {
		return ended, nil
	}
	defer close(ended)
	return ended, Renew(d.t.Context(), d.offers.Dir, ref, d.evaluate)
}

func (d *desk) evaluate(context.Context, string) ([]byte, error) {
	if d.yields == "" {
		return nil, errors.New("it fails")
	}
	return []byte(d.yields), nil
}

// want completes once.
func (d *desk) want(started int, vms ...microvm.Name) {
	d.t.Helper()
	before := d.started
	got := slices.Sorted(maps.Keys(d.offers.Of(d.t.Context(), d.dir).VMs))
	if !slices.Equal(got, vms) || d.started-before != started {
		d.t.Errorf("%q were offered, after %d evaluations; wanted %q, after %d", got, d.started-before, vms, started)
	}
}

func TestNamesAreEvaluatedOnce(t *testing.T) {
	d := newDesk(t)
	d.want(1, "web")
	d.want(0, "web")
}

func TestChangedFlakeIsEvaluated(t *testing.T) {
	d := newDesk(t)
	d.want(1, "web")
	d.write("vms/db.nix", "2")
	d.yields = `{"vms":{"db":{},"web":{}}}`
	d.want(1, "db", "web")
	d.write("README.md", "names no VM")
	d.want(0, "db", "web")
}

func TestOldNamesAreOfferedWhileNewOnesAreNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.want(1, "web")
		time.Sleep(maxAge)
		d.hangs = true
		begin := time.Now()
		d.want(1, "web")
		if took := time.Since(begin); took != shortPatience {
			t.Errorf("it waited %s", took)
		}
	})
}

func TestHungEvaluationDoesNotHangTheShell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.hangs = true
		begin := time.Now()
		d.want(1)
		if took := time.Since(begin); took != patience {
			t.Errorf("it waited %s", took)
		}
	})
}

func TestFailedEvaluationKeepsNamesAndIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.want(1, "web")
		d.yields = ""
		d.write("flake.nix", "a mistake")
		d.want(1, "web")
		d.want(0, "web")
		time.Sleep(failedAge)
		d.want(1, "web")
		d.yields = `{"vms":{"db":{}}}`
		d.write("flake.nix", "a mistake less")
		d.want(1, "db")
	})
}

func TestNothingIsEvaluatedWithoutAFlake(t *testing.T) {
	d := newDesk(t)
	if err := os.Remove(filepath.Join(d.dir, "flake.nix")); err != nil {
		t.Fatal(err)
	}
	d.want(0)
	if _, err := os.Stat(d.offers.Dir); err == nil {
		t.Error("something was cached")
	}
}

func TestNothingIsEvaluatedWithoutAPlaceForIt(t *testing.T) {
	d := newDesk(t)
	d.offers.Dir = ""
	d.want(0)
}

// A cache that somebody else has written, or an older ferry, offers nothing that
// could not come from Nix.
func TestCachedNamesAreChecked(t *testing.T) {
	d := newDesk(t)
	d.yields = `{"vms":{"$(reboot)":{},"-x":{},"a b":{},"web":{"target":"-oProxyCommand=x"}},"hosts":{"h;x":"root@h","h":"$(x)"}}`
	d.want(1, "web")
	o := d.offers.Of(t.Context(), d.dir)
	if len(o.Hosts) != 0 || o.VMs["web"].Target != nil {
		t.Errorf("%+v", o)
	}
	files, _ := filepath.Glob(filepath.Join(d.offers.Dir, "*.json"))
	for _, content := range []string{"", "{", `{"format":1}`, `{"format":2}`} {
		if err := os.WriteFile(files[0], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d.want(1, "web")
	}
}

func TestOneProcessEvaluatesAFlake(t *testing.T) {
	d := newDesk(t)
	p, _ := locate(d.dir)
	unlock, err := cache{d.offers.Dir}.lock(p)
	if err != nil {
		t.Fatal(err)
	}
	err = Renew(t.Context(), d.offers.Dir, d.dir, func(context.Context, string) ([]byte, error) {
		t.Error("a second process evaluates")
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
	unlock()
	d.want(1, "web")
}

func TestCacheIsBounded(t *testing.T) {
	d := newDesk(t)
	d.want(1, "web")
	for i := range maxFiles {
		if err := os.WriteFile(filepath.Join(d.offers.Dir, strings.Repeat("x", i+1)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.write("flake.nix", "another")
	d.want(1, "web")
	entries, err := os.ReadDir(d.offers.Dir)
	if err != nil || len(entries) > maxFiles {
		t.Errorf("%d files, %v", len(entries), err)
	}
	d.want(0, "web")
}

func TestFlakeIsFoundAsNixFindsIt(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"repo/flake.nix", "repo/vms/web.nix", "repo/inner/.git/HEAD", "repo/inner/x"} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	repo := filepath.Join(root, "repo")
	t.Chdir(filepath.Join(repo, "vms"))
	for ref, want := range map[string]string{
		"": repo, ".": repo, "..": repo, "../": repo, repo: repo, "path:" + repo: "path:" + repo, "git+file://" + repo: "git+file://" + repo,
		"../inner": "", "infra": "", "github:o/r": "", ".?dir=x": "", "path:../": "", "git+ssh://host" + repo: "", "-x": "", root: "",
	} {
		got, ok := locate(ref)
		if got.ref != want && ok || ok != (want != "") {
			t.Errorf("%q: %+v, %v; wanted %q", ref, got, ok, want)
		}
	}
}

func TestTooManyFilesAreNotLookedAt(t *testing.T) {
	d := newDesk(t)
	for i := range maxEntries {
		if err := os.MkdirAll(filepath.Join(d.dir, "many", strconv.Itoa(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p, _ := locate(d.dir)
	before := p.state()
	d.write("zzz.nix", "beyond what is looked at")
	if p.state() != before {
		t.Error("a tree with too many files was looked through")
	}
	d.write("flake.nix", "changed")
	if p.state() == before {
		t.Error("flake.nix has changed, and nobody noticed")
	}
}
