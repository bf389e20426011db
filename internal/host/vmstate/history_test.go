package vmstate

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

func TestHistoryIsTolerantAndBounded(t *testing.T) {
	l := Layout{Lib: t.TempDir()}
	if history, err := l.VM(web).History().Read(5); err != nil || history.Entries == nil || len(history.Entries) != 0 {
		t.Fatalf("without a history: %+v, %v", history, err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := l.VM(web).History().Append(hostapi.HistoryEntry{Deployment: hostapi.Deployment{ID: id}, Outcome: "switched"}); err != nil {
			t.Fatal(err)
		}
	}
	path := l.VM(web).lib() + "/" + noteHistory
	b, _ := os.ReadFile(path)
	// A crash cut a line, and the file has grown far beyond what is read.
	b = append(append([]byte(`{"id":"cut","outco`+"\n"), b...), []byte("{\"id\":\"d\"")...)
	b = append(bytes.Repeat([]byte("x"), 2*maxHistoryBytes), append([]byte("\n"), b...)...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	history, err := l.VM(web).History().Read(2)
	if err != nil || history.Broken != 2 || len(history.Entries) != 2 || history.Entries[1].ID != "c" {
		t.Fatalf("%+v, %v", history, err)
	}
}

// A line that a crash has cut spoils no entry that follows, also where all but its
// end is there.
func TestHistoryGoesOnBehindACutLine(t *testing.T) {
	for name, cut := range map[string]string{"half": `{"id":"cut","outco`, "without its end": `{"id":"cut","outcome":"failed"}`} {
		t.Run(name, func(t *testing.T) {
			l := Layout{Lib: t.TempDir()}
			history := l.VM(web).History()
			add := func(id string) {
				t.Helper()
				if err := history.Append(hostapi.HistoryEntry{Deployment: hostapi.Deployment{ID: id}, Outcome: "switched"}); err != nil {
					t.Fatal(err)
				}
			}
			add("a")
			f, err := os.OpenFile(history.path(), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, werr := f.WriteString(cut)
			if err := errors.Join(werr, f.Close()); err != nil {
				t.Fatal(err)
			}
			whole := name != "half"
			if last := history.Last(); (last.ID == "cut") != whole {
				t.Errorf("the last one is %q", last.ID)
			}
			add("b")
			if h, err := history.Read(9); err != nil || (h.Broken == 0) != whole || h.Entries[len(h.Entries)-1].ID != "b" || h.Entries[0].ID != "a" {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
}

// Whatever is in a history, reading it ends, and what comes out is bounded and
// can be printed as JSON.
func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"id":"a","outcome":"switched","runner":"/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-r"}`+"\n"), 3)
	f.Add([]byte(`{"id":"a","runner":"/etc/passwd"}`+"\n\x00\n{}\n[]"), 1)
	f.Add([]byte("\n\n{"), -1)
	f.Fuzz(func(t *testing.T, b []byte, last int) {
		entries, broken := parseHistory(b, last)
		if len(entries) > max(0, last) || broken < 0 || len(entries)+broken > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d entries and %d broken lines of %q with last %d", len(entries), broken, b, last)
		}
		for _, e := range entries {
			if e.Runner != "" && !strings.HasPrefix(string(e.Runner), microvm.StoreDir+"/") {
				t.Errorf("the runner is %q", e.Runner)
			}
		}
	})
}

// What was undone last is known, whatever became of the unit since, until there
// is another deployment.
func TestUndoneRunner(t *testing.T) {
	l := Layout{Lib: t.TempDir()}
	add := func(action hostapi.Action, outcome, id string) {
		t.Helper()
		e := hostapi.HistoryEntry{Deployment: hostapi.Deployment{ID: id, Action: action}, Outcome: outcome, Runner: someRunner}
		if err := l.VM("web").History().Append(e); err != nil {
			t.Fatal(err)
		}
	}
	want := func(runner microvm.StorePath, id string) {
		t.Helper()
		if r, i := l.VM("web").History().Undone(); r != runner || i != id {
			t.Errorf("%q by %q, wanted %q by %q", r, i, runner, id)
		}
	}
	want("", "")
	add(hostapi.ActionSwitch, "restarted", "one")
	want("", "")
	add(hostapi.ActionSwitch, hostapi.OutcomeRolledBack, "two")
	want(someRunner, "two")
	add(hostapi.ActionRestart, hostapi.OutcomeRestarted, "three")
	want(someRunner, "two")
	add(hostapi.ActionSwitch, "installed", "four")
	want("", "")
}

// Which build is installed is known from whatever brought its runner here last,
// also after a rollback to it, and not from builds that were not of a job.
func TestBuildOfRunner(t *testing.T) {
	const other = microvm.StorePath("/nix/store/ffffffffffffffffffffffffffffffff-other")
	h := Layout{Lib: t.TempDir()}.VM("web").History()
	if b := h.BuildOf(someRunner); b != nil {
		t.Errorf("without a history: %+v", b)
	}
	for _, e := range []hostapi.HistoryEntry{
		{Deployment: hostapi.Deployment{ID: "a", Job: "job", BuildID: 7}, Runner: someRunner},
		{Deployment: hostapi.Deployment{ID: "b", Job: "job", BuildID: 8}, Runner: other},
		{Deployment: hostapi.Deployment{ID: "c", RollbackTo: 1}, Runner: someRunner},
		{Deployment: hostapi.Deployment{ID: "d", Build: "https://hydra/build/9"}, Runner: someRunner}, // of an older ferry
	} {
		if err := h.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if b := h.BuildOf(someRunner); b == nil || *b != (hostapi.JobBuild{Job: "job", ID: 7}) {
		t.Errorf("%+v", b)
	}
	if b := h.BuildOf(other); b == nil || b.ID != 8 {
		t.Errorf("%+v", b)
	}
}

// Which revision is installed is known from whatever brought its runner here last and
// said so.
func TestOriginOfRunner(t *testing.T) {
	h := Layout{Lib: t.TempDir()}.VM("web").History()
	if d := h.Origin(someRunner); d != nil {
		t.Errorf("without a history: %+v", d)
	}
	for _, e := range []hostapi.HistoryEntry{
		{Deployment: hostapi.Deployment{ID: "a", Revision: "one", By: "ann"}, Runner: someRunner},
		{Deployment: hostapi.Deployment{ID: "b", Revision: "two", By: "bob"}, Runner: someRunner},
		{Deployment: hostapi.Deployment{ID: "c", RollbackTo: 1}, Runner: someRunner},
		{Deployment: hostapi.Deployment{ID: "d", Revision: "three"}, Runner: someRunner + "2"},
	} {
		if err := h.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if d := h.Origin(someRunner); d == nil || d.Revision != "two" || d.By != "bob" {
		t.Errorf("%+v", d)
	}
}
