//go:build linux

package hosttest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// onSmallDisk marks a process whose temporary files are on a file system of their
// own.
const onSmallDisk = "FERRY_TEST_SMALL_DISK"

// SmallDisk runs the test again, in a process whose temporary directories are on a
// small file system, and reports whether this is that process. Where no file system
// can be mounted the test is skipped.
func SmallDisk(t *testing.T) bool {
	t.Helper()
	if os.Getenv(onSmallDisk) != "" {
		dir, err := os.MkdirTemp("", "small") // t's own directory stays where it is first
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("small", dir, "tmpfs", 0, "size=8m,nr_inodes=2000"); err != nil {
			t.Fatal(err)
		}
		t.Setenv("TMPDIR", dir)
		t.Cleanup(func() { _ = errors.Join(syscall.Unmount(dir, syscall.MNT_DETACH), os.Remove(dir)) })
		return true
	}
	if err := inNamespace("true").Run(); err != nil {
		t.Skipf("needs a mount namespace of its own: %v", err)
	}
	c := inNamespace(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=2m")
	c.Env = append(os.Environ(), onSmallDisk+"=1")
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("on the small disk: %v", err)
	}
	return false
}

// inNamespace is a command that may mount file systems, which only it sees.
func inNamespace(program string, args ...string) *exec.Cmd {
	c := exec.Command(program, args...)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	return c
}

// Fill leaves neither space nor names for files on the host's file system, and
// returns what gives them back. What is removed meanwhile leaves no space either, and
// the history ends where a block does.
func (h *Host) Fill() (free func()) {
	h.T.Helper()
	dir := filepath.Join(h.Layout.Root, "filler")
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.T.Fatal(err)
	}
	if err := h.pin(dir); err != nil {
		h.T.Fatal(err)
	}
	h.Refill()
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			h.T.Fatal(err)
		}
	}
}

// Refill takes what has become free since Fill.
func (h *Host) Refill() {
	h.T.Helper()
	dir := filepath.Join(h.Layout.Root, "filler")
	big, err := os.OpenFile(filepath.Join(dir, "big"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		h.T.Fatal(err)
	}
	defer big.Close()
	var f *os.File
	for i := 0; err == nil && i < 10_000; i++ {
		if f, err = os.CreateTemp(dir, ""); err == nil {
			err = f.Close()
		}
	}
	var werr error
	for i := 0; werr == nil && i < 10_000; i++ {
		_, werr = big.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) || !errors.Is(werr, syscall.ENOSPC) {
		h.T.Fatalf("the disk is not full: %v, %v", err, werr)
	}
}

// pin gives ferry's notes a second name each in dir, which keeps their blocks.
func (h *Host) pin(dir string) error {
	return filepath.WalkDir(h.Layout.Lib, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if filepath.Base(path) == "history.jsonl" {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b = append(b, bytes.Repeat([]byte("\n"), 4096-len(b)%4096)...)
			return os.WriteFile(path, b, 0o600)
		}
		return os.Link(path, filepath.Join(dir, "pinned-"+filepath.Base(path)))
	})
}
