package nix_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"ferry/internal/nix"
	"ferry/internal/nix/nixtest"
)

func TestCopyPaths(t *testing.T) {
	for _, c := range []struct {
		req  nix.PathsRequest
		args []string
	}{
		{nix.PathsRequest{To: "ssh-ng://h", Paths: paths{outA}, Substitute: true}, []string{"--to", "ssh-ng://h", "--substitute-on-destination", outA}},
		{nix.PathsRequest{From: "ssh-ng://b", To: "ssh-ng://h", Paths: paths{outA, outB}}, []string{"--from", "ssh-ng://b", "--to", "ssh-ng://h", outA, outB}},
		{nix.PathsRequest{From: "ssh-ng://b", Paths: paths{outA}}, []string{"--from", "ssh-ng://b", outA}},
	} {
		n := nixtest.New(t, nixtest.Call{Args: append(nixCall("copy", "--no-check-sigs"), c.args...)})
		if err := n.CopyPaths(t.Context(), c.req); err != nil {
			t.Errorf("%q: %v", c.args, err)
		}
	}
	if err := nixtest.New(t).CopyPaths(t.Context(), nix.PathsRequest{To: "ssh-ng://h"}); err != nil {
		t.Error(err)
	}
}

// A `.bashrc` that prints breaks only Nix's own connections, and Nix does not say
// that it was the shell. The messages are those of Nix 2.26.3.
func TestNoiseOfALoginShellIsNamed(t *testing.T) {
	const said = `error: cannot open connection to remote store 'ssh-ng://root@host1': error: protocol mismatch, got 'Welcome to host1
              Have a nice day, and mind the gap'
`
	copying := func(stderr string) error {
		n := nixtest.New(t, nixtest.Call{Args: append(nixCall("copy", "--no-check-sigs"), "--to", "ssh-ng://h", outA), Stderr: stderr, Exit: 1})
		return n.CopyPaths(t.Context(), nix.PathsRequest{To: "ssh-ng://h", Paths: paths{outA}})
	}
	var noisy *nix.NoisyShellError
	var failed *nix.CommandError
	err := copying(said)
	if !errors.As(err, &noisy) || !errors.As(err, &failed) {
		t.Fatalf("got %T: %v", err, err)
	}
	if !strings.Contains(noisy.Hint(), "~/.bashrc") || !strings.Contains(err.Error(), "login shell") || !strings.Contains(err.Error(), "mind the gap") {
		t.Errorf("got %v\nhint %s", err, noisy.Hint())
	}
	err = copying("error: cannot open connection to remote store 'ssh-ng://h': error: Nix daemon disconnected unexpectedly (maybe it crashed?)\n")
	if errors.As(err, &noisy) || !errors.As(err, &failed) {
		t.Errorf("another failure: %v", err)
	}
}

func TestSubstituteTakesWhatItCan(t *testing.T) {
	n := nixtest.New(t, nixtest.Call{Args: []string{"nix-store", "--realise", "--keep-going", outA, outB}, Stderr: "error: no substituter\n", Exit: 1})
	if err := n.Substitute(t.Context(), paths{outA, outB}); err != nil {
		t.Error(err)
	}
}

func TestStore(t *testing.T) {
	for out, want := range map[string]bool{
		`{"trusted":1,"url":"ssh-ng://","version":"2.26.3"}`: true,
		`{"trusted":0,"url":"ssh-ng://"}`:                    false,
		`{"trusted":true}`:                                   true,
		`{"trusted":false}`:                                  false,
		`{"trusted":null}`:                                   true,
		`{"url":"ssh-ng://"}`:                                true, // an old daemon does not say
	} {
		n := nixtest.New(t, nixtest.Call{Args: nixCall("store", "info", "--json", "--store", "ssh-ng://h"), Stdout: out})
		if info, err := n.Store(t.Context(), "ssh-ng://h", nil); err != nil || info.Trusted != want {
			t.Errorf("%s: %+v, %v", out, info, err)
		}
	}
	for name, call := range map[string]nixtest.Call{
		"no connection": {Args: nixCall("store", "info", "--json"), Stdout: `{"url":"x"}`, Stderr: "error: cannot open connection\n", Exit: 1},
		"no JSON":       {Args: nixCall("store", "info", "--json"), Stdout: "Store URL: x\n"},
	} {
		if _, err := nixtest.New(t, call).Store(t.Context(), "", nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestBuildIn(t *testing.T) {
	out := `[{"drvPath":"` + drvA + `","outputs":{"out":"` + outA + `"}}]`
	n := nixtest.New(t, nixtest.Call{
		Args:   nixCall("build", "--print-build-logs", "--json", "--option", "cores", "1", "--store", "ssh-ng://b", "--eval-store", "auto", "--no-link", drvA+"^out"),
		Stdout: out,
	})
	outs, err := n.BuildIn(t.Context(), nix.BuildRequest{Store: "ssh-ng://b", Options: []string{"--option", "cores", "1"}, Derivations: paths{drvA}})
	if err != nil || !slices.Equal(outs, paths{outA}) {
		t.Error(outs, err)
	}
}

func TestFlakeArchive(t *testing.T) {
	src := func(n string) string { return "/nix/store/" + strings.Repeat(n, 32) + "-source" }
	call := func(out string) nixtest.Call {
		return nixtest.Call{Args: nixCall("flake", "archive", "--json", "--override-input", "a", "b", "--", "."), Stdout: out}
	}
	options := []string{"--override-input", "a", "b"}
	n := nixtest.New(t, call(`{"path":"`+src("1")+`","inputs":{"a":{"path":"`+src("0")+`","inputs":{"c":{"path":"`+src("1")+`"},"part":{"inputs":{}}}}}}`))
	tree, err := n.FlakeArchive(t.Context(), ".", options)
	if err != nil || string(tree.Path) != src("1") {
		t.Fatal(tree, err)
	}
	if got := tree.Paths(); len(got) != 2 || string(got[0]) != src("0") || string(got[1]) != src("1") {
		t.Errorf("%q", got)
	}
	for names, want := range map[string]string{"a": src("0"), "a/c": src("1"), "a/part": "", "b": "", "a/c/d": ""} {
		if got, ok := tree.At(strings.Split(names, "/")); string(got) != want || ok != (want != "") {
			t.Errorf("%s: %s, %v", names, got, ok)
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"path":"/etc"}`, `{"path":"` + src("1") + `","inputs":{"a":{"path":"/nix/store/../etc"}}}`} {
		if tree, err := nixtest.New(t, call(bad)).FlakeArchive(t.Context(), ".", options); err == nil {
			t.Errorf("%s: %+v", bad, tree)
		}
	}
}
