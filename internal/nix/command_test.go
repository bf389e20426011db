package nix

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script makes a program of its own for what nixtest cannot play.
func script(t *testing.T, body string) *Nix {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nix")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Nix{Program: path, grace: 300 * time.Millisecond}
}

// waitFor polls until ok, or fails at the deadline.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
	}
}

func alive(pidFile string) bool {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return false
	}
	// A zombie that nobody has reaped yet is dead too.
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil {
		_, rest, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(rest, "Z")
	}
	return syscall.Kill(pid, 0) == nil
}

// A copy over ssh-ng with max-connections can ignore SIGTERM, and a wrapper's
// child would outlive it: both must be gone after a cancellation.
func TestCancelEndsTheWholeGroup(t *testing.T) {
	dir := t.TempDir()
	n := script(t, `trap '' TERM
cd `+dir+`
(trap '' TERM; sleep 600 & echo $! > child; wait) &
echo $$ > self.tmp; mv self.tmp self
wait; wait; sleep 600
`)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() {
		_, _, err := n.run(ctx, command{program: "nix", args: []string{"copy"}})
		done <- err
	}()
	child, self := filepath.Join(dir, "child"), filepath.Join(dir, "self")
	waitFor(t, "the program starts", func() bool { return alive(child) && alive(self) })
	why := errors.New("the user wants to stop")
	cancel(why)
	select {
	case err := <-done:
		var failed *CommandError
		if !errors.Is(err, why) || errors.As(err, &failed) {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("run does not return")
	}
	waitFor(t, "both processes end", func() bool { return !alive(child) && !alive(self) })
}

func TestCancelIsGentleFirst(t *testing.T) {
	dir := t.TempDir()
	n := script(t, "trap 'echo bye > "+dir+"/bye; exit 1' TERM\n: > "+dir+"/up\nwhile :; do sleep 0.02; done\n")
	n.grace = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := n.run(ctx, command{program: "nix", mayAsk: true})
		done <- err
	}()
	waitFor(t, "the program starts", func() bool { _, err := os.Stat(dir + "/up"); return err == nil })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(dir + "/bye"); err != nil {
		t.Error("the program could not clean up:", err)
	}
}

// An ssh master that the user's ControlPersist keeps in the background holds
// stderr open long after nix has ended.
func TestBackgroundChildDoesNotHoldUp(t *testing.T) {
	dir := t.TempDir()
	n := script(t, "(sleep 600 >/dev/null & echo $! > "+dir+"/pid)\necho said >&2\necho out\n")
	start := time.Now()
	out, stderr, err := n.run(t.Context(), command{program: "nix"})
	if err != nil || string(out) != "out\n" || strings.Join(stderr, "|") != "said" {
		t.Errorf("%q %q %v", out, stderr, err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	data, _ := os.ReadFile(dir + "/pid")
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Error("the child was not there any more")
	}
}

func TestCommandError(t *testing.T) {
	n := script(t, "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo \"line $i\" >&2; done; echo out; exit 7\n")
	_, _, err := n.run(t.Context(), command{program: "nix", args: []string{"copy", "a b"}})
	var failed *CommandError
	if !errors.As(err, &failed) || failed.ExitCode != 7 || failed.Command != "nix copy 'a b'" {
		t.Fatalf("%#v", err)
	}
	if len(failed.Stderr) != maxTailLines || failed.Stderr[maxTailLines-1] != "line 100" {
		t.Errorf("%d lines: %q", len(failed.Stderr), failed.Stderr)
	}
	if msg := err.Error(); !strings.HasPrefix(msg, "nix copy 'a b': exit status 7\n") || strings.Contains(msg, "out") {
		t.Errorf("%q", msg)
	}
}

func TestNoNix(t *testing.T) {
	for _, dir := range installDirs() {
		if executable(filepath.Join(dir, "nix")) {
			t.Skip("Nix is installed where ferry looks apart from PATH")
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := (&Nix{}).Version(t.Context()); !errors.Is(err, ErrNoNix) {
		t.Errorf("the error is %v", err)
	}
	if _, err := (&Nix{Program: "/nowhere/nix"}).Version(t.Context()); !errors.Is(err, ErrNoNix) {
		t.Errorf("the error is %v", err)
	}
}

// A single-user installation has Nix in root's own profile; root doesn't look into the
// home that sudo has kept.
func TestNixInTheProfileOfItsUser(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	want := home
	if os.Geteuid() == 0 {
		want = "/root"
	}
	dirs := installDirs()
	for _, dir := range []string{"/nix/var/nix/profiles/default/bin", "/run/current-system/sw/bin", want + "/.nix-profile/bin", want + "/.local/state/nix/profile/bin"} {
		if !slices.Contains(dirs, dir) {
			t.Errorf("%s is not looked at: %q", dir, dirs)
		}
	}
	if want != home && strings.Contains(strings.Join(dirs, " "), home) {
		t.Errorf("root takes programs from %s", home)
	}
	t.Setenv("HOME", "relative")
	for _, dir := range installDirs() {
		if !filepath.IsAbs(dir) {
			t.Errorf("%s is relative", dir)
		}
	}
}

// A Nix that was killed (out of memory, say) is told so, not as "signal: killed".
func TestKilledProgramInPlainWords(t *testing.T) {
	_, _, err := script(t, "kill -KILL $$").run(t.Context(), command{program: "nix", args: []string{"copy"}})
	var failed *CommandError
	if !errors.As(err, &failed) || err.Error() != "nix copy: ended by signal 9 (killed)" {
		t.Errorf("got %v", err)
	}
}
