package vmstate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ferry/internal/microvm"
)

// runnerNumber is a store path.
func runnerNumber(i int) string { return fmt.Sprintf("/nix/store/%032d-runner", i) }

func names(t *testing.T, path, want string) {
	t.Helper()
	if got, _ := os.Readlink(path); got != want {
		t.Errorf("%s names %q, wanted %q", path, got, want)
	}
}

// noTemporary finds no entry that a change of links has left.
func noTemporary(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".ferry-") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// A link is replaced only where it is what was to be replaced; what somebody else has
// put there is put back and named.
func TestMoveLinkLeavesWhatIsForeign(t *testing.T) {
	one, two, three := runnerNumber(1), runnerNumber(2), runnerNumber(3)
	for name, c := range map[string]struct {
		there, to string
		from      []string
		foreign   bool
		after     string
	}{
		"replaced":                {one, two, []string{one}, false, two},
		"made":                    {"", two, []string{""}, false, two},
		"removed":                 {one, "", []string{one}, false, ""},
		"as it should be":         {two, two, []string{one}, false, two},
		"gone as it should be":    {"", "", []string{one}, false, ""},
		"foreign":                 {three, two, []string{one, ""}, true, three},
		"foreign, to be removed":  {three, "", []string{one}, true, three},
		"removed by somebody":     {"", two, []string{one}, true, ""},
		"made by somebody":        {three, two, []string{""}, true, three},
		"a relative link planted": {"elsewhere", two, []string{one}, true, "elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			l := Layout{StateDir: t.TempDir(), Owner: os.Geteuid()}
			dir := l.VM(web).Path()
			current := filepath.Join(dir, "current")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if c.there != "" {
				if err := os.Symlink(c.there, current); err != nil {
					t.Fatal(err)
				}
			}
			var from []microvm.StorePath
			for _, f := range c.from {
				from = append(from, microvm.StorePath(f))
			}
			err := l.VM(web).MoveLink("current", microvm.StorePath(c.to), from...)
			var foreign *ForeignLinkError
			if errors.As(err, &foreign) != c.foreign || (err != nil) != c.foreign {
				t.Fatalf("got %v", err)
			}
			if c.foreign && (foreign.Link != current || foreign.Found != c.there) {
				t.Errorf("got %+v", foreign)
			}
			names(t, current, c.after)
			noTemporary(t, dir)
		})
	}
}

// A link that was made before is used, unless it is not this user's own.
func TestMoveLinkUsesWhatWasMadeBefore(t *testing.T) {
	dir := t.TempDir()
	one, two := runnerNumber(1), runnerNumber(2)
	spare := spareName("current")
	err := errors.Join(os.Symlink(one, filepath.Join(dir, "current")), os.Symlink(two, filepath.Join(dir, spare)))
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Lstat(filepath.Join(dir, spare))
	if err != nil {
		t.Fatal(err)
	}
	m := move{name: "current", to: two, from: []string{one}, spare: "current"}
	if err := m.make(dir); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Lstat(filepath.Join(dir, "current")); err != nil || !os.SameFile(before, after) {
		t.Errorf("another link was made: %v", err)
	}
	names(t, filepath.Join(dir, spare), one) // for the way there again
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Lchown(filepath.Join(dir, spare), 12345, -1); err != nil {
		t.Fatal(err)
	}
	m.to, m.from = one, []string{two}
	if err := m.make(dir); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Lstat(filepath.Join(dir, "current")); err != nil || !isOwn(after) {
		t.Errorf("a planted link was used: %v", err)
	}
}

// Tools that know no lock put their link there in one rename, whatever is there. At
// whatever moment of a change they do, theirs is what stays, and one that came before
// the change is reported.
func TestMoveLinkLosesNoForeignLink(t *testing.T) {
	const rounds, writes = 400, 4
	dir := t.TempDir()
	current := filepath.Join(dir, "current")
	for round := range rounds {
		_ = os.Remove(current)
		if err := os.Symlink(runnerNumber(1), current); err != nil {
			t.Fatal(err)
		}
		begin := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			<-begin
			for i := range writes {
				theirs := filepath.Join(dir, "theirs")
				if err := errors.Join(os.Symlink(runnerNumber(10+i), theirs), os.Rename(theirs, current)); err != nil {
					t.Error(err)
				}
			}
		})
		var err error
		wg.Go(func() {
			<-begin
			to := runnerNumber(2)
			if round%4 == 0 {
				to = ""
			}
			err = move{name: "current", to: to, from: []string{runnerNumber(1)}}.make(dir)
		})
		close(begin)
		wg.Wait()
		var foreign *ForeignLinkError
		if err != nil && (!errors.As(err, &foreign) || foreign.Found < runnerNumber(10) || foreign.Found >= runnerNumber(10+writes)) {
			t.Errorf("got %v", err)
		}
		names(t, current, runnerNumber(10+writes-1))
	}
	noTemporary(t, dir)
}

// Two that exchange links at the same moment: whatever each has put there is there in
// the end or has come out, exactly once.
func TestExchangesLoseNothing(t *testing.T) {
	const swappers, rounds = 2, 500
	path := t.TempDir()
	if err := os.Symlink(runnerNumber(0), filepath.Join(path, "current")); err != nil {
		t.Fatal(err)
	}
	came := make([][]string, swappers)
	var wg sync.WaitGroup
	for who := range swappers {
		wg.Go(func() {
			dir, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer dir.Close()
			mine := fmt.Sprintf("mine-%d", who)
			for i := range rounds {
				link := filepath.Join(path, mine)
				err := errors.Join(os.Symlink(runnerNumber(1+who*rounds+i), link), swapNames(dir, mine, "current"))
				if errors.Is(err, errors.ErrUnsupported) {
					return // not Linux, or a file system that can't
				}
				out, rerr := os.Readlink(link)
				if err := errors.Join(err, rerr, os.Remove(link)); err != nil {
					t.Error(err)
					return
				}
				came[who] = append(came[who], out)
			}
		})
	}
	wg.Wait()
	last, err := os.Readlink(filepath.Join(path, "current"))
	if err != nil {
		t.Fatal(err)
	}
	if len(came[0]) == 0 {
		t.Skip("names cannot be exchanged here")
	}
	all := slices.Sorted(slices.Values(append(slices.Concat(came...), last)))
	if len(all) != swappers*rounds+1 || len(slices.Compact(all)) != swappers*rounds+1 {
		t.Errorf("%d links, of which %d different ones", len(all), len(slices.Compact(all)))
	}
}
