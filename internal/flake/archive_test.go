package flake

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

const (
	srcRoot = "/nix/store/00000000000000000000000000000000-source"
	srcA    = "/nix/store/11111111111111111111111111111111-source"
	srcC    = "/nix/store/22222222222222222222222222222222-source"
	aLocks  = `{"root":"root","nodes":{"root":{"inputs":{"a":"a_2","b":["a"]}},"a_2":{"inputs":{"c":"c"},"locked":{"rev":"ff","narHash":"sha256-A+/=","lastModified":5,"revCount":2,"dir":"sub dir"}},"c":{"locked":{"narHash":"sha256-C"}}}}`
)

func aTree() nix.ArchiveTree {
	return nix.ArchiveTree{Path: srcRoot, Inputs: map[string]nix.ArchiveTree{
		"a": {Path: srcA, Inputs: map[string]nix.ArchiveTree{"c": {Path: srcC}}},
	}}
}

// Sources in the store say of themselves what their originals say.
func TestArchiveRefs(t *testing.T) {
	m := nix.Metadata{URL: "git+file:///x?rev=abc", Locked: json.RawMessage(`{"rev":"abc","narHash":"sha256-R+","type":"git","url":"file:///x"}`), Locks: json.RawMessage(aLocks)}
	options := []string{
		"--override-input", "a", "/src/a", "--show-trace", "--option", "cores", "1", "--override-input", "a/c", "../c", "--override-input", "nosuch", "x",
		"--no-write-lock-file", "--refresh", "--inputs-from", "y", "--extra-experimental-features", "f", "--accept-flake-config", "--override-flake", "p", "q",
	}
	a, err := archive(&m, aTree(), options, "web")
	if err != nil {
		t.Fatal(err)
	}
	if want := "path:" + srcRoot + "?narHash=sha256-R%2B&rev=abc"; a.Ref != want {
		t.Errorf("%s, not %s", a.Ref, want)
	}
	want := []string{
		"--override-input", "a", "path:" + srcA + "?dir=sub%20dir&lastModified=5&narHash=sha256-A%2B%2F%3D&rev=ff&revCount=2",
		"--show-trace", "--option", "cores", "1", "--override-input", "a/c", "path:" + srcC + "?narHash=sha256-C",
		"--extra-experimental-features", "f", "--accept-flake-config",
	}
	if !slices.Equal(a.Options, want) {
		t.Errorf("%q", a.Options)
	}
	if len(a.Sources) != 3 || a.URL != m.URL || a.Revision != "abc" || string(a.Locks) != aLocks || !strings.Contains(a.Expression, `names = [ "web" ]`) {
		t.Errorf("%+v", a)
	}
	for _, locks := range []string{``, `[]`, `{"root":"root","nodes":{"root":{"inputs":{"a":["x"]}}}}`, `{"root":"r","nodes":{}}`, `{"root":"root","nodes":{"root":{"inputs":{"a":"a"}},"a":{}}}`} {
		m.Locks = json.RawMessage(locks)
		if a, err := archive(&m, aTree(), []string{"--override-input", "a", "x"}, "web"); err == nil {
			t.Errorf("%s: %q", locks, a.Options)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	e := Evaluator{Nix: &nix.Nix{Program: "/nonexistent/nix"}}
	for _, options := range [][]string{{"--impure"}, {"--option", "pure-eval", "false"}} {
		_, err := e.Archive(t.Context(), Source{Options: options}, "web")
		var impure ImpureError
		if !errors.As(err, &impure) || impure.Hint() == "" {
			t.Errorf("%q: %v", options, err)
		}
	}
	if _, err := e.Archive(t.Context(), Source{Ref: "-x"}, "web"); err == nil {
		t.Error("took a reference that begins with a dash")
	}
	if _, err := e.Archive(t.Context(), Source{}, `"; evil`); err == nil {
		t.Error("took a name that is none")
	}
}

func TestDecodeEvaluation(t *testing.T) {
	ev, err := DecodeEvaluation([]byte(webOutput), "here", "web")
	if err != nil || ev.Record.Runner.Drv != runnerDrv || len(ev.Warnings) != 1 {
		t.Errorf("%+v, %v", ev, err)
	}
	var unknown *UnknownVMError
	if _, err := DecodeEvaluation([]byte(`{"vms":{"wbe":{"missing":["web"]}}}`), "here", "wbe"); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "did you mean `web`?") {
		t.Error(err)
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"vms":{"web":{"record":{"name":"web","runner":{"drv":"/etc"}}}}}`, `{"vms":{"web":{"obstacle":"no"}}}`} {
		if ev, err := DecodeEvaluation([]byte(bad), "here", "web"); err == nil {
			t.Errorf("%s: %+v", bad, ev)
		}
	}
}

// Whatever a lock file says, what goes to the host is a path in the store.
func FuzzStoreRef(f *testing.F) {
	f.Add(`{"rev":"abc","narHash":"sha256-x","dir":"a&b#c"}`)
	f.Add(`{"lastModified":-1,"dir":"?narHash=y"}`)
	f.Fuzz(func(t *testing.T, locked string) {
		ref, err := storeRef(json.RawMessage(locked), microvm.StorePath(srcA))
		if err != nil {
			return
		}
		if rest, ok := strings.CutPrefix(ref, "path:"+srcA); !ok || rest != "" && rest[0] != '?' || strings.ContainsAny(rest, "# \n") || unfitForArgument(ref) != "" && len(ref) <= maxRefLength {
			t.Errorf("%q becomes %q", locked, ref)
		}
	})
}
