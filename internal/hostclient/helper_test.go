//go:build lab

package hostclient

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/helperbin"
	"ferry/internal/remote"
	"ferry/internal/remote/remotetest"

	"ferry/internal/microvm"
)

// script is a "binary" of some size that shows its arguments and its input.
const script = "#!/bin/sh\necho \"helper $* $(umask)\"\ncat\nexit 3\n# "

func newHelper(t *testing.T) helperbin.Program {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the helper has to belong to root")
	}
	padding := make([]byte, 1<<20) // not compressible
	_, _ = rand.Read(padding)
	path := filepath.Join(t.TempDir(), "ferry")
	if err := os.WriteFile(path, append([]byte(script), padding...), 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := helperbin.FromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func dial(t *testing.T, o remote.Options) remote.Conn {
	t.Helper()
	c, err := remote.Dial(remotetest.Within(t, time.Minute), o)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// onBox is a connection to a remotetest.Server.
func onBox(t *testing.T) remote.Conn {
	t.Helper()
	return dial(t, remote.Options{Address: microvm.Address{Host: remotetest.Alias}})
}

// converse starts the helper, checks that it is the right one, and says whether it
// was uploaded.
func converse(t *testing.T, s starter) bool {
	t.Helper()
	p, uploaded, err := s.start(remotetest.Within(t, 30*time.Second), []string{"host", "a 'b'\n!"})
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	_, _ = io.WriteString(p.Stdin, "request\n")
	_ = p.Stdin.Close()
	out, err := io.ReadAll(p.Stdout)
	if want := "helper host a 'b'\n! 0022\nrequest\n"; string(out) != want || err != nil {
		t.Errorf("got %q, want %q, %v", out, want, err)
	}
	var e *remote.ExitError
	if err := p.Wait(); !errors.As(err, &e) || e.Code != 3 || strings.Contains(e.CommandLine, "set -u") {
		t.Errorf("Wait: %v", err)
	}
	return uploaded
}

func TestHelperIsUploadedOnce(t *testing.T) {
	h, s := newHelper(t), remotetest.Start(t)
	st := starter{c: onBox(t), find: only(h), base: filepath.Join(t.TempDir(), "ferry")}
	if !converse(t, st) || s.Sessions(t) != 3 {
		t.Errorf("first: not uploaded, or not in three sessions but %d", s.Sessions(t))
	}
	for range 20 {
		if err := st.c.Run(remotetest.Within(t, 30*time.Second), remote.Command{Args: []string{"true"}}); err != nil {
			t.Fatal(err)
		}
	}
	if converse(t, st) || s.Sessions(t) != 24 || s.Connections(t) != 1 {
		t.Errorf("second: uploaded again, or not in one session: %d with 20 commands; connections %d", s.Sessions(t), s.Connections(t))
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, "bin": 0o700, "bin/" + h.SHA256: 0o700, "bin/" + h.SHA256 + "/ferry": 0o755} {
		if info, err := os.Stat(filepath.Join(st.base, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v", name, info, err)
		}
	}
}

// binWith is a directory with what the upload needs, without gzip, and more.
func binWith(t *testing.T, more ...string) string {
	t.Helper()
	bin := t.TempDir()
	for _, tool := range append(more, "sh", "id", "ls", "mkdir", "mktemp", "cat", "sha256sum", "chmod", "sync", "mv", "rm", "uname") {
		path, err := exec.LookPath(tool)
		if err == nil {
			err = os.Symlink(path, filepath.Join(bin, tool))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func TestHelperWithoutGzip(t *testing.T) {
	h := newHelper(t)
	remotetest.Start(t, "SetEnv SHLVL=2 PATH="+binWith(t))
	if !converse(t, starter{c: onBox(t), find: only(h), base: filepath.Join(t.TempDir(), "ferry")}) {
		t.Error("not uploaded")
	}
}

func TestHelperThroughSudoPassword(t *testing.T) {
	h := newHelper(t)
	remotetest.SudoMachines(t, "password", func(t *testing.T, alias, _ string) {
		o := remote.Options{Address: microvm.Address{Host: alias, Local: alias == ""}, Sudo: true}
		o.AskPassword = func(string) (string, error) { return remotetest.Password, nil }
		st := starter{c: dial(t, o), find: only(h), base: filepath.Join(t.TempDir(), "ferry")}
		if !converse(t, st) || converse(t, st) {
			t.Error("not uploaded once")
		}
	})
}

func TestHelperNeedsRoot(t *testing.T) {
	h := newHelper(t)
	remotetest.SudoMachines(t, "quiet", func(t *testing.T, alias, _ string) {
		o := remote.Options{Address: microvm.Address{Host: alias, Local: alias == ""}}
		base := filepath.Join(t.TempDir(), "ferry")
		_, _, err := starter{c: dial(t, o), find: only(h), base: base}.start(remotetest.Within(t, 10*time.Second), nil)
		var e *remote.SudoError
		if _, there := os.Stat(base); !errors.As(err, &e) || e.Hint() == "" || there == nil {
			t.Errorf("got %v", err)
		}
	})
}

// only is the one program there is, for all platforms.
func only(h helperbin.Program) helperbin.Find {
	return func(string) (helperbin.Program, error) { return h, nil }
}

func (s starter) own() helperbin.Program {
	h, _ := s.find("")
	return h
}

// otherwise announces another content than it uploads.
func (s *starter) otherwise() {
	h := s.own()
	h.SHA256 = strings.Repeat("0", 64)
	s.find = only(h)
}

func localStarter(t *testing.T) starter {
	h := newHelper(t)
	return starter{c: dial(t, remote.Options{Address: microvm.Address{Local: true}}), find: only(h), base: filepath.Join(t.TempDir(), "ferry")}
}

// What arrives is not what was announced: it is never run, nor kept.
func TestHelperDamaged(t *testing.T) {
	st := localStarter(t)
	st.otherwise()
	_, uploaded, err := st.start(remotetest.Within(t, 10*time.Second), nil)
	if err == nil || !strings.Contains(err.Error(), "arrived damaged") || uploaded {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(filepath.Join(st.base, "bin"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A helper that others could have written is replaced, not run.
func TestHelperNotRootsAlone(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"writable":      func(f string) error { return os.Chmod(f, 0o777) },
		"another's":     func(f string) error { return os.Chown(f, 65534, 65534) },
		"a link":        func(f string) error { return errors.Join(os.Remove(f), os.Symlink("/bin/true", f)) },
		"a directory":   func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) },
		"dir of others": func(f string) error { return os.Chown(filepath.Dir(f), 65534, 65534) },
		"linked dir": func(f string) error {
			return errors.Join(os.Rename(filepath.Dir(f), filepath.Dir(f)+".x"), os.Symlink(filepath.Dir(f)+".x", filepath.Dir(f)))
		},
		"not executable": func(f string) error { return os.Chmod(f, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			st := localStarter(t)
			converse(t, st)
			if err := spoil(filepath.Join(st.base, "bin", st.own().SHA256, "ferry")); err != nil {
				t.Fatal(err)
			}
			if !converse(t, st) {
				t.Error("not uploaded again")
			}
		})
	}
}

func TestHelperBaseNotRootsAlone(t *testing.T) {
	elsewhere := t.TempDir()
	for name, spoil := range map[string]func(base string) error{
		"a link":    func(b string) error { return os.Symlink(elsewhere, b) },
		"dangling":  func(b string) error { return os.Symlink(elsewhere+"/no", b) },
		"another's": func(b string) error { return errors.Join(os.Mkdir(b, 0o700), os.Chown(b, 65534, 65534)) },
		"writable":  func(b string) error { return errors.Join(os.Mkdir(b, 0o700), os.Chmod(b, 0o770)) },
		"a file":    func(b string) error { return os.WriteFile(b, nil, 0o600) },
		"bin a link": func(b string) error {
			return errors.Join(os.Mkdir(b, 0o700), os.Symlink(elsewhere, filepath.Join(b, "bin")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := localStarter(t)
			if err := spoil(st.base); err != nil {
				t.Fatal(err)
			}
			_, _, err := st.start(remotetest.Within(t, 10*time.Second), nil)
			if err == nil || !strings.Contains(err.Error(), "only root can write") {
				t.Errorf("got %v", err)
			}
			if left, _ := os.ReadDir(elsewhere); len(left) != 0 {
				t.Errorf("written through the link: %v", left)
			}
		})
	}
}

func TestHelperConcurrentUploads(t *testing.T) {
	st := localStarter(t)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() { converse(t, st) })
	}
	all.Wait()
	left, err := os.ReadDir(filepath.Join(st.base, "bin"))
	if err != nil || len(left) != 1 || left[0].Name() != st.own().SHA256 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// An upload cut off in the middle leaves nothing that could be run.
func TestHelperUploadInterrupted(t *testing.T) {
	st := localStarter(t)
	f, err := st.own().Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := st.command("install", st.own(), "plain")
	half, w := io.Pipe()
	go func() {
		_, _ = io.CopyN(w, f, 1<<19)
		cancel()
	}()
	c.Stdin = half
	if err := st.c.Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	_ = w.Close()
	remotetest.WaitFor(t, "the upload is tidied away", func() bool {
		left, err := os.ReadDir(filepath.Join(st.base, "bin"))
		return err == nil && len(left) == 0
	})
}

func TestHelperPrune(t *testing.T) {
	st := localStarter(t)
	bin := filepath.Join(st.base, "bin")
	old := func(name string, age time.Duration) string {
		dir := filepath.Join(bin, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, time.Now().Add(-age), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	gone := []string{old(strings.Repeat("c", 64), 3*time.Hour), old(strings.Repeat("d", 64), 4*time.Hour), old("tmp.stale", 2*time.Hour)}
	kept := []string{old(strings.Repeat("a", 64), time.Hour), old(strings.Repeat("b", 64), 2*time.Hour), old("tmp.fresh", time.Minute), old("something else", 9*time.Hour)}
	for dir := st.base; len(dir) >= len(st.base); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	converse(t, st)
	for _, dir := range gone {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there", dir)
		}
	}
	for _, dir := range append(kept, filepath.Join(bin, st.own().SHA256)) {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
}

// The host has another platform: its helper is looked up, and remembered.
func TestHelperOtherPlatform(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "uname"), []byte("#!/bin/sh\n[ $1 = -s ] && echo Linux || echo s390x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := remotetest.Start(t, "SetEnv SHLVL=2 PATH="+bin+":/usr/bin:/bin")
	known := map[string]helperbin.Program{"linux/" + runtime.GOARCH: newHelper(t)}
	find := func(platform string) (helperbin.Program, error) {
		h, ok := known[platform]
		if !ok {
			return h, errors.New("no helper for " + platform)
		}
		return h, nil
	}
	st := starter{c: onBox(t), find: find, base: filepath.Join(t.TempDir(), "ferry")}
	if _, _, err := st.start(remotetest.Within(t, 10*time.Second), nil); err == nil || !strings.Contains(err.Error(), "no helper for linux/s390x") {
		t.Errorf("got %v", err)
	}
	known["linux/s390x"] = newHelper(t)
	if !converse(t, st) {
		t.Error("not uploaded")
	}
	before := s.Sessions(t)
	if converse(t, st) || s.Sessions(t) != before+1 {
		t.Errorf("%d sessions for a known platform", s.Sessions(t)-before)
	}
}

func TestHelperLocalIsThisProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	p, uploaded, err := start(remotetest.Within(t, 20*time.Second), dial(t, remote.Options{Address: microvm.Address{Local: true}}), Options{}, "-test.run=^$")
	if err != nil || uploaded {
		t.Fatalf("%v, uploaded %v", err, uploaded)
	}
	out, _ := io.ReadAll(p.Stdout)
	if err := p.Wait(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%q, %v", out, err)
	}
}
