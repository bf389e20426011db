package nix_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/nix/nixtest"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

const (
	drvA = "/nix/store/00000000000000000000000000000000-a.drv"
	drvB = "/nix/store/11111111111111111111111111111111-b.drv"
	outA = "/nix/store/22222222222222222222222222222222-a"
	outB = "/nix/store/33333333333333333333333333333333-b"
)

// nixCall is a call of nix with the features that every one must enable: users
// need not have them in their nix.conf.
func nixCall(args ...string) []string {
	return append([]string{"nix", "--extra-experimental-features", "nix-command flakes"}, args...)
}

type paths = []microvm.StorePath

func TestVersion(t *testing.T) {
	n := nixtest.New(t, nixtest.Call{Args: []string{"nix", "--version"}, Stdout: "nix (Nix) 2.26.3\n", Stderr: "warning: x\n"})
	if v, err := n.Version(t.Context()); err != nil || v.String() != "2.26.3" {
		t.Error(v, err)
	}
}

func TestEval(t *testing.T) {
	n := nixtest.New(t,
		nixtest.Call{
			Args:   nixCall("eval", "--json", "--show-trace", "--impure", "--apply", "x: x", "--", ".#."),
			Stdout: `{"a":1}`, Stderr: "warning: Git tree '/x' is dirty\n",
		},
		nixtest.Call{Args: nixCall("eval", "--json", "--show-trace", "--", "bad#x"), Stderr: "error: no\n", Exit: 1},
	)
	var log bytes.Buffer
	n.Log = &log
	out, err := n.Eval(t.Context(), nix.EvalRequest{Installable: ".#.", Apply: "x: x", Options: []string{"--impure"}})
	if err != nil || string(out) != `{"a":1}` || log.String() != "warning: Git tree '/x' is dirty\n" {
		t.Errorf("%q, %v, log %q", out, err, log.String())
	}
	_, err = n.Eval(t.Context(), nix.EvalRequest{Installable: "bad#x"})
	var failure *nix.EvalFailure
	var command *nix.CommandError
	if !errors.As(err, &failure) || strings.Join(failure.Stderr, "|") != "error: no" || !errors.As(err, &command) || command.ExitCode != 1 {
		t.Errorf("%#v", err)
	}
}

func TestFlakeMetadata(t *testing.T) {
	call := func(out string) nixtest.Call {
		return nixtest.Call{Args: nixCall("flake", "metadata", "--json", "--override-input", "a", "b", "--", "."), Stdout: out}
	}
	const locks = `"locks":{"root":"root","nodes":{"root":{},"rel":{"locked":{"path":"./x"},"parent":[]},"n":{"locked":{"narHash":"sha256-B"}}}}`
	for _, c := range []struct {
		name, json, revision string
		pinned               bool
	}{
		{"clean", `{"url":"u","path":"/p","locked":{"narHash":"sha256-A","rev":"abc"},` + locks + `}`, "abc", true},
		{"dirty", `{"url":"u","path":"/p","locked":{"narHash":"sha256-A","dirtyRev":"abc-dirty"},` + locks + `}`, "abc-dirty", true},
		{"no version control", `{"url":"u","path":"/p","locked":{"narHash":"sha256-A"},` + locks + `}`, "", true},
		{"no hash", `{"url":"u","path":"/p","locked":{"rev":"abc"},` + locks + `}`, "abc", false},
		{"an input without hash", `{"url":"u","path":"/p","locked":{"narHash":"sha256-A"},"locks":{"root":"root","nodes":{"root":{},"n":{"locked":{"rev":"1"}}}}}`, "", false},
		{"no locks", `{"url":"u","path":"/p","locked":{"narHash":"sha256-A"}}`, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := nixtest.New(t, call(c.json))
			m, err := n.FlakeMetadata(t.Context(), ".", []string{"--override-input", "a", "b"})
			if err != nil || m.URL != "u" || m.Path != "/p" || m.Revision() != c.revision || m.Pinned() != c.pinned {
				t.Errorf("%+v, revision %q, pinned %v, %v", m, m.Revision(), m.Pinned(), err)
			}
		})
	}
	if _, err := nixtest.New(t, call("oops")).FlakeMetadata(t.Context(), ".", []string{"--override-input", "a", "b"}); err == nil {
		t.Error("took output that is no JSON")
	}
}

// What Nix says of a flake while it writes its lock file is true no more.
func TestFlakeMetadataAfterLocking(t *testing.T) {
	call := func(hash, stderr string) nixtest.Call {
		return nixtest.Call{Args: nixCall("flake", "metadata", "--json", "--", "."), Stderr: stderr,
			Stdout: `{"locked":{"narHash":"` + hash + `"},"locks":{}}`}
	}
	for name, c := range map[string]struct {
		calls []nixtest.Call
		want  string
	}{
		"created":     {[]nixtest.Call{call("old", "warning: creating lock file \"/f/flake.lock\": \n• Added input 'dep':\n"), call("new", "")}, "new"},
		"updated":     {[]nixtest.Call{call("old", "warning: Git tree '/f' is dirty\nwarning: updating lock file \"/f/flake.lock\":\n"), call("new", "")}, "new"},
		"not written": {[]nixtest.Call{call("old", "warning: not writing modified lock file of flake 'path:/f':\n")}, "old"},
	} {
		m, err := nixtest.New(t, c.calls...).FlakeMetadata(t.Context(), ".", nil)
		if err != nil || !strings.Contains(string(m.Locked), c.want) {
			t.Errorf("%s: %s, %v", name, m.Locked, err)
		}
	}
}

// The inputs come last, behind what keeps one from being taken for an option.
func TestFlakeUpdate(t *testing.T) {
	const tree = "git+file:///tmp/tree"
	n := nixtest.New(t,
		nixtest.Call{Args: nixCall("flake", "update", "--commit-lock-file", "--netrc-file", "n", "--flake", tree, "--", "a", "b")},
		nixtest.Call{Args: nixCall("flake", "update", "--commit-lock-file", "--flake", tree, "--"), Stderr: "error: unable to download\n", Exit: 1},
	)
	if err := n.FlakeUpdate(t.Context(), nix.FlakeUpdate{Flake: tree, Inputs: []string{"a", "b"}, Options: []string{"--netrc-file", "n"}}); err != nil {
		t.Error(err)
	}
	var failure *nix.EvalFailure
	if err := n.FlakeUpdate(t.Context(), nix.FlakeUpdate{Flake: tree}); !errors.As(err, &failure) {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	n := nixtest.New(t, nixtest.Call{Args: nixCall("config", "show", "--json"), Stdout: `{"pure-eval":{"value":true,"description":"x"},"cores":{"value":2}}`})
	s, err := n.Settings(t.Context())
	if err != nil || len(s) != 2 || string(s["pure-eval"]) != "true" || string(s["cores"]) != "2" {
		t.Error(s, err)
	}
}

// One call for many derivations: each would be an SSH session of its own.
func TestCopyDerivations(t *testing.T) {
	n := nixtest.New(t, nixtest.Call{Args: nixCall("copy", "--derivation", "--no-check-sigs", "--to", "ssh-ng://h", drvA, drvB)})
	if err := n.CopyDerivations(t.Context(), nix.CopyRequest{To: "ssh-ng://h", Derivations: paths{drvA, drvB}}); err != nil {
		t.Error(err)
	}
	if err := n.CopyDerivations(t.Context(), nix.CopyRequest{To: "ssh-ng://h"}); err != nil {
		t.Error("nothing to copy:", err)
	}
}

func TestBuild(t *testing.T) {
	build := nixCall("build", "--print-build-logs", "--json", "--no-link", drvA+"^out", drvB+"^out")
	// Nix reports in an order of its own.
	done := fmt.Sprintf(`[{"drvPath":%q,"outputs":{"out":%q}},{"drvPath":%q,"outputs":{"out":%q}}]`, drvB, outB, drvA, outA)
	n := nixtest.New(t, nixtest.Call{Args: build, Stdout: done, Stderr: "a> hi\n"})
	var log bytes.Buffer
	n.Log = &log
	outs, err := n.Build(t.Context(), "", drvA, drvB)
	if diff := cmp.Diff(paths{outA, outB}, outs); diff != "" || err != nil || log.String() != "a> hi\n" {
		t.Error(diff, err, log.String())
	}
	for name, out := range map[string]string{
		"one is missing": fmt.Sprintf(`[{"drvPath":%q,"outputs":{"out":%q}}]`, drvB, outB),
		"no store path":  fmt.Sprintf(`[{"drvPath":%q,"outputs":{"out":"/etc"}}]`, drvA),
		"no JSON":        "",
	} {
		if outs, err := nixtest.New(t, nixtest.Call{Args: build, Stdout: out}).Build(t.Context(), "", drvA, drvB); err == nil {
			t.Errorf("%s: %v", name, outs)
		}
	}
}

// Nix lists what it is about to build and fetch, and names each again when its
// turn comes (wordings of 2.26 and 2.34).
func TestBuildNamesEachDerivationOnce(t *testing.T) {
	said := "these 2 derivations will be built:\n  " + drvA + "\n  " + drvB + "\n" +
		"this path will be fetched (0.03 MiB download, 0.11 MiB unpacked):\n  " + outB + "\n" +
		"copying path '" + outB + "' from 'https://cache.example.org'...\n" +
		"building '" + drvA + "'...\na>   " + drvA + "\n  " + outA + "\nbuilding '" + drvB + "'...\n"
	n := nixtest.New(t, nixtest.Call{
		Args:   nixCall("build", "--print-build-logs", "--json", "--no-link", drvA+"^out"),
		Stdout: `[{"drvPath":"` + drvA + `","outputs":{"out":"` + outA + `"}}]`, Stderr: said,
	})
	var log bytes.Buffer
	n.Log = &log
	if _, err := n.Build(t.Context(), "", drvA); err != nil {
		t.Fatal(err)
	}
	want := "these 2 derivations will be built:\n" +
		"this path will be fetched (0.03 MiB download, 0.11 MiB unpacked):\n" +
		"copying path '" + outB + "' from 'https://cache.example.org'...\n" +
		"building '" + drvA + "'...\na>   " + drvA + "\n  " + outA + "\nbuilding '" + drvB + "'...\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Error(diff)
	}
}

func TestBuildFails(t *testing.T) {
	args := nixCall("build", "--print-build-logs", "--json", "--no-link", drvA+"^out")
	n := nixtest.New(t, nixtest.Call{Args: args, Stderr: "b> oops\nerror: builder for '" + drvB + "' failed with exit code 1\nerror: 1 dependencies of derivation '" + drvA + "' failed to build\n", Exit: 1})
	_, err := n.Build(t.Context(), "", drvA)
	var failed *nix.BuildError
	var command *nix.CommandError
	if !errors.As(err, &failed) || failed.Derivation != drvB || strings.Join(failed.LogTail, "|") != "oops" || !errors.As(err, &command) {
		t.Errorf("%#v", err)
	}
	n = nixtest.New(t, nixtest.Call{Args: args, Stderr: "error: opening lock file: Permission denied\n", Exit: 1})
	_, err = n.Build(t.Context(), "", drvA)
	var other *nix.BuildError
	if errors.As(err, &other) || !errors.As(err, &command) || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("not a derivation's failure, but %#v", err)
	}
}

func TestStoreQueries(t *testing.T) {
	check := []string{"nix-store", "--check-validity", "--print-invalid"}
	n := nixtest.New(t,
		nixtest.Call{Args: append(check, drvA, outA), Stdout: outA + "\n"},
		nixtest.Call{Args: append(check, drvA)},
		nixtest.Call{Args: append(check, outB), Stdout: outB + "\n"},
		nixtest.Call{Args: []string{"nix-store", "--query", "--requisites", drvA, drvB}, Stdout: outA + "\n" + drvA + "\n" + drvB + "\n"},
		nixtest.Call{Args: []string{"nix-store", "--query", "--requisites", outB}, Stdout: "error?\n"},
	)
	if got, err := n.Missing(t.Context(), paths{drvA, outA}); err != nil || !cmp.Equal(got, paths{outA}) {
		t.Error(got, err)
	}
	if ok, err := n.Valid(t.Context(), drvA); err != nil || !ok {
		t.Error(ok, err)
	}
	if ok, err := n.Valid(t.Context(), outB); err != nil || ok {
		t.Error(ok, err)
	}
	if got, err := n.Requisites(t.Context(), drvA, drvB); err != nil || !cmp.Equal(got, paths{outA, drvA, drvB}) {
		t.Error(got, err)
	}
	if got, err := n.Requisites(t.Context(), outB); err == nil {
		t.Error("took output that is no store path:", got)
	}
	if got, err := n.Missing(t.Context(), nil); err != nil || got != nil {
		t.Error(got, err)
	}
}

// A command line of tens of thousands of paths would be refused by the kernel.
func TestLongQueriesAreSplit(t *testing.T) {
	var all paths
	var first, second []string
	for i := range 1500 {
		p := fmt.Sprintf("/nix/store/%032d-p", i)
		all = append(all, microvm.StorePath(p))
		if i < 1000 {
			first = append(first, p)
		} else {
			second = append(second, p)
		}
	}
	head := []string{"nix-store", "--check-validity", "--print-invalid"}
	n := nixtest.New(t,
		nixtest.Call{Args: append(head[:3:3], first...), Stdout: first[7] + "\n"},
		nixtest.Call{Args: append(head[:3:3], second...), Stdout: second[3] + "\n"})
	if got, err := n.Missing(t.Context(), all); err != nil || !cmp.Equal(got, paths{all[7], all[1003]}) {
		t.Error(got, err)
	}
}

func TestExportImport(t *testing.T) {
	n := nixtest.New(t,
		nixtest.Call{Args: []string{"nix-store", "--export", drvA, drvB}, Stdout: "\x00archive\n"},
		nixtest.Call{Args: []string{"nix-store", "--import"}, Stdin: "\x00archive\n", Stdout: drvA + "\n"})
	var archive bytes.Buffer
	if err := n.Export(t.Context(), &archive, paths{drvA, drvB}); err != nil || archive.String() != "\x00archive\n" {
		t.Errorf("%q, %v", archive.String(), err)
	}
	if err := n.Import(t.Context(), &archive); err != nil {
		t.Error(err)
	}
	if err := n.Export(t.Context(), &archive, nil); err != nil || archive.Len() != 0 {
		t.Error("nothing to export:", err)
	}
}

func TestProfileDiffAndRegistration(t *testing.T) {
	n := nixtest.New(t,
		nixtest.Call{Args: []string{"nix-env", "--profile", "/p/runner", "--set", outA}},
		nixtest.Call{Args: nixCall("store", "diff-closures", outA, outB), Stdout: "linux: 6.1 → 6.6, \x1b[31;1m+10.5 MiB\x1b[0m\n\n"},
		nixtest.Call{Args: []string{"nix-store", "--query", "--requisites", outA}, Stdout: outB + "\n" + outA + "\n"},
		nixtest.Call{Args: []string{"nix-store", "--dump-db", outB, outA}, Stdout: "registration\n"})
	if err := n.SetProfile(t.Context(), "/p/runner", outA); err != nil {
		t.Error(err)
	}
	if lines, err := n.DiffClosures(t.Context(), outA, outB); err != nil || !cmp.Equal(lines, []string{"linux: 6.1 → 6.6, +10.5 MiB"}) {
		t.Errorf("%q, %v", lines, err)
	}
	var dump bytes.Buffer
	if err := n.DumpRegistration(t.Context(), &dump, outA); err != nil || dump.String() != "registration\n" {
		t.Errorf("%q, %v", dump.String(), err)
	}
	if err := n.DumpRegistration(t.Context(), &dump, drvA); err == nil {
		t.Error("dumped a derivation, whose entry a guest would refuse")
	}
}
