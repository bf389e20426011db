//go:build lab

package nix_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// These tests need a real Nix whose store they may write to: go test -tags lab.

func realNix(t *testing.T) *nix.Nix {
	t.Helper()
	if _, err := exec.LookPath("nix"); err != nil {
		t.Fatal("these tests need Nix:", err)
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("NIX_CONFIG", "substituters =")
	return &nix.Nix{}
}

// derive instantiates a derivation whose builder is a shell script, and that is
// like no earlier run's.
func derive(t *testing.T, name, script string, extra ...string) microvm.StorePath {
	t.Helper()
	expr := fmt.Sprintf(`derivation ({ name = %q; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" %q ]; run = %q; } // { %s })`,
		name, script, t.TempDir(), strings.Join(extra, " "))
	var stderr bytes.Buffer
	cmd := exec.Command("nix-instantiate", "--expr", expr)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s%v", stderr.String(), err)
	}
	p, err := microvm.ParseStorePath(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func remove(t *testing.T, p microvm.StorePath) {
	t.Helper()
	if out, err := exec.Command("nix-store", "--delete", string(p)).CombinedOutput(); err != nil {
		t.Fatalf("%s%v", out, err)
	}
}

func TestRealVersion(t *testing.T) {
	n := realNix(t)
	v, err := n.Version(t.Context())
	if err != nil || nix.CheckVersion(v, "here") != nil {
		t.Error(v, err)
	}
	settings, err := n.Settings(t.Context())
	if err != nil || string(settings["pure-eval"]) != "false" && string(settings["pure-eval"]) != "true" {
		t.Errorf("pure-eval is %s, %v", settings["pure-eval"], err)
	}
}

func TestRealBuild(t *testing.T) {
	n := realNix(t)
	var log bytes.Buffer
	n.Log = &log
	a, b := derive(t, "a", "echo building a; echo a > $out"), derive(t, "b", "echo b > $out")
	outs, err := n.Build(t.Context(), "", b, a)
	if err != nil || len(outs) != 2 || !strings.HasSuffix(string(outs[0]), "-b") || !strings.HasSuffix(string(outs[1]), "-a") {
		t.Fatal(outs, err)
	}
	if !strings.Contains(log.String(), "a> building a\n") {
		t.Errorf("log %q", log.String())
	}

	inner := derive(t, "inner", "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done; exit 3")
	outer := derive(t, "outer", "echo > $out", fmt.Sprintf("needs = (import %s);", importOf(t, inner)))
	for name, drvs := range map[string]paths{"dependency": {outer}, "two": {outer, inner}} {
		_, err := n.Build(t.Context(), "", drvs...)
		var failed *nix.BuildError
		if !errors.As(err, &failed) || failed.Derivation != inner {
			t.Errorf("%s: %#v", name, err)
			continue
		}
		if len(failed.LogTail) != 25 || failed.LogTail[24] != "line 100" || !strings.Contains(failed.Message, "exit code 3") {
			t.Errorf("%s: log %q, message %q", name, failed.LogTail, failed.Message)
		}
	}

	system := derive(t, "elsewhere", "echo > $out", `system = "m68k-linux";`)
	var failed *nix.BuildError
	if _, err := n.Build(t.Context(), "", system); !errors.As(err, &failed) || failed.Derivation != system || !strings.Contains(failed.Message, "m68k-linux") {
		t.Errorf("%v", err)
	}
}

// importOf is a file with an expression for an instantiated derivation's output.
func importOf(t *testing.T, drv microvm.StorePath) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.nix")
	expr := fmt.Sprintf(`builtins.appendContext "needs" { %q = { outputs = [ "out" ]; }; }`, string(drv))
	if err := os.WriteFile(path, []byte(expr), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRealStore(t *testing.T) {
	n := realNix(t)
	drv := derive(t, "exported", "echo > $out")
	absent := microvm.StorePath(strings.Replace(string(drv), "-exported", "-absent", 1))
	if missing, err := n.Missing(t.Context(), paths{drv, absent}); err != nil || !slices.Equal(missing, paths{absent}) {
		t.Error(missing, err)
	}
	closure, err := n.Requisites(t.Context(), drv)
	if err != nil || closure[len(closure)-1] != drv {
		t.Fatal(closure, err)
	}
	var archive bytes.Buffer
	if err := n.Export(t.Context(), &archive, closure); err != nil {
		t.Fatal(err)
	}
	remove(t, drv)
	if ok, err := n.Valid(t.Context(), drv); ok || err != nil {
		t.Error(ok, err)
	}
	if err := n.Import(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	if ok, err := n.Valid(t.Context(), drv); !ok || err != nil {
		t.Error(ok, err)
	}

	other := t.TempDir()
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+w", other).Run() })
	second := derive(t, "second", "echo > $out")
	if err := n.CopyDerivations(t.Context(), nix.CopyRequest{To: other, Derivations: paths{drv, second}}); err != nil {
		t.Fatal(err)
	}
	for _, p := range (paths{drv, second}) {
		if _, err := os.Stat(filepath.Join(other, string(p))); err != nil {
			t.Error(err)
		}
	}
}

// Another database over the same store is what a guest has.
func TestRealRegistration(t *testing.T) {
	n := realNix(t)
	dep := derive(t, "dep", "echo dep > $out")
	top := derive(t, "top", "echo $needs > $out", fmt.Sprintf("needs = (import %s);", outputOf(t, dep)))
	outs, err := n.Build(t.Context(), "", top, dep)
	if err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if err := n.DumpRegistration(t.Context(), &dump, outs[0]); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dump.String(), string(outs[1])) {
		t.Fatalf("the closure lacks the dependency:\n%s", dump.String())
	}
	guest := &nix.Nix{Env: []string{"NIX_STATE_DIR=" + t.TempDir(), "NIX_REMOTE=local"}}
	if ok, err := guest.Valid(t.Context(), outs[0]); ok || err != nil {
		t.Fatal("the other database is not another one:", ok, err)
	}
	load := exec.Command("nix-store", "--load-db")
	load.Env, load.Stdin = append(os.Environ(), guest.Env...), &dump
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	for _, p := range outs {
		if ok, err := guest.Valid(t.Context(), p); !ok || err != nil {
			t.Error(p, ok, err)
		}
	}
}

func outputOf(t *testing.T, drv microvm.StorePath) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "y.nix")
	out, err := exec.Command("nix-store", "--query", "--outputs", string(drv)).Output()
	if err != nil {
		t.Fatal(err)
	}
	expr := fmt.Sprintf(`builtins.appendContext %q { %q = { outputs = [ "out" ]; }; }`, strings.TrimSpace(string(out)), string(drv))
	if err := os.WriteFile(path, []byte(expr), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The diff is empty where only configuration has changed.
func TestRealProfileAndDiff(t *testing.T) {
	n := realNix(t)
	outs, err := n.Build(t.Context(), "", paths{
		derive(t, "conf", "echo 1 > $out"), derive(t, "conf", "echo 2 > $out"), derive(t, "tool-1.0", "echo > $out"), derive(t, "tool-2.0", "echo > $out"),
	}...)
	if err != nil {
		t.Fatal(err)
	}
	if lines, err := n.DiffClosures(t.Context(), outs[0], outs[1]); err != nil || len(lines) != 0 {
		t.Errorf("%q, %v", lines, err)
	}
	if lines, err := n.DiffClosures(t.Context(), outs[2], outs[3]); err != nil || len(lines) != 1 || !strings.Contains(lines[0], "tool: 1.0 → 2.0") {
		t.Errorf("%q, %v", lines, err)
	}
	profile := filepath.Join(t.TempDir(), "runner")
	for _, p := range []microvm.StorePath{outs[0], outs[1], outs[1]} { // again: no generation of its own
		if err := n.SetProfile(t.Context(), profile, p); err != nil {
			t.Fatal(err)
		}
	}
	if target, err := filepath.EvalSymlinks(profile); err != nil || target != string(outs[1]) {
		t.Error(target, err)
	}
	if links, err := filepath.Glob(profile + "-*-link"); err != nil || len(links) != 2 {
		t.Error(links, err)
	}
}
