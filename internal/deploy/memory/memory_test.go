package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const (
	run   = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner")
	other = microvm.StorePath("/nix/store/ffffffffffffffffffffffffffffffff-other")
	sys   = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system")
)

type store struct {
	kept map[string][]byte
	fail error
}

func (s *store) Keep(id string, doc any) error {
	b, _ := json.Marshal(doc)
	s.kept[id] = b
	return s.fail
}

func (s *store) Recall(id string, doc any) (bool, error) {
	b, ok := s.kept[id]
	if !ok || s.fail != nil {
		return false, s.fail
	}
	return true, json.Unmarshal(b, doc)
}
func (s *store) Forget(id string) error { delete(s.kept, id); return s.fail }

type voice struct{ said []string }

func (v *voice) Detail(f string, a ...any) { v.said = append(v.said, fmt.Sprintf(f, a...)) }
func (v *voice) Warn(f string, a ...any)   { v.said = append(v.said, fmt.Sprintf(f, a...)) }

// A note is recalled as it was kept, until it is forgotten; what can't be kept or
// is another version's is said, and is no failure.
func TestMemory(t *testing.T) {
	s, v := &store{kept: map[string][]byte{}}, &voice{}
	m := Memory{Store: s, ID: "id", Report: v}
	c := hostapi.CommitRequest{Name: "web", Runner: run, Install: true, Activation: hostapi.ActivateLive, UpdateFlake: "f"}
	if !m.Keep(Note{Host: "root@h", HostName: "web", System: sys, Commit: c}) {
		t.Error("not kept")
	}
	n := m.Recall()
	if n == nil || n.ID != "id" || n.Host != "root@h" {
		t.Fatalf("recalled %+v", n)
	}
	if p := n.Plan(); p.Runner != c.Runner || p.System != sys || !p.WriteFlake || !p.Install || p.Activation != hostapi.ActivateLive {
		t.Errorf("plan %+v", p)
	}
	if r := n.Record(); r.Name != "web" || r.HostName != "web" {
		t.Errorf("record %+v", r)
	}
	n.Commit.Record = &microvm.Record{HostName: "other"}
	if r := n.Record(); r.HostName != "other" {
		t.Errorf("record %+v", r)
	}
	// An older ferry would take a check that is withheld for none.
	if n.Version != 1 {
		t.Errorf("version %d", n.Version)
	}
	c.Confirm.Withheld = []string{"the check command"}
	if m.Keep(Note{Host: "root@h", Commit: c}); m.Recall() == nil || m.Recall().Version != 2 {
		t.Errorf("with withheld checks: %+v", m.Recall())
	}
	m.Forget()
	if m.Recall() != nil || len(v.said) != 0 {
		t.Errorf("said %q", v.said)
	}
	s.kept["id"] = []byte(`{"version":99,"id":"id"}`)
	if m.Recall() != nil || !strings.Contains(strings.Join(v.said, "\n"), "another version of ferry wrote it") {
		t.Errorf("said %q", v.said)
	}
	s.fail = errors.New("the disk is full")
	m.Keep(Note{})
	m.Forget()
	if m.Recall() != nil || len(v.said) != 4 {
		t.Errorf("said %q", v.said)
	}
	if none := (Memory{ID: "id", Report: v}); none.Keep(Note{}) || none.Recall() != nil {
		t.Error("something is kept nowhere")
	}
}

// A host that says another thing than what was begun is not believed.
func TestContradictions(t *testing.T) {
	n := Note{ID: "id", Host: "root@h", Commit: hostapi.CommitRequest{Name: "web", Runner: run, Activation: hostapi.ActivateLive}}
	for name, c := range map[string]struct {
		host string
		vm   microvm.Name
		left hostapi.Resumed
		says string
	}{
		"the same":       {"root@h", "web", hostapi.Resumed{Runner: run}, ""},
		"another host":   {"root@x", "web", hostapi.Resumed{Runner: run}, "was begun from here on root@h"},
		"another VM":     {"root@h", "db", hostapi.Resumed{Runner: run}, "was begun from here for web"},
		"another runner": {"root@h", "web", hostapi.Resumed{Runner: other}, "with the runner " + string(run)},
		"another kind":   {"root@h", "web", hostapi.Resumed{Runner: run, Phase: hostapi.PhaseAwait}, `the activation "live"`},
	} {
		err := n.Contradicts(c.host, c.vm, &c.left)
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
