//go:build lab

package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A `lab up` that ends early leaves nothing if it could clean up, and nothing
// that the next one trips over if it could not.
func TestUpInterrupted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the lab needs root")
	}
	program := filepath.Join(t.TempDir(), "lab")
	if out, err := exec.Command("go", "build", "-o", program, "ferry/cmd/lab").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Points that `up` passes, by what is there afterwards.
	points := map[string]func(root string) bool{
		"network made": func(root string) bool {
			return len(mountsBelow(root)) > 0
		},
		"a container runs": func(root string) bool {
			_, ok := (&Machine{Name: "operator", lab: newLab(Options{Root: root})}).findNspawn()
			return ok
		},
	}
	for name, reached := range points {
		t.Run("killed when "+name, func(t *testing.T) {
			root := testRoot(t)
			interrupt(t, program, root, syscall.SIGKILL, reached)
			l, err := Up(t.Context(), Options{Root: root})
			if err != nil {
				t.Fatalf("up after a crash: %v", err)
			}
			if got := sh(t, machine(t, l, "operator"), "ssh host1 hostname"); got != "host1" {
				t.Errorf("ssh: %s", got)
			}
			if err := l.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := leftovers(t, root); len(left) != 0 {
				t.Errorf("left:\n%s", strings.Join(left, "\n"))
			}
		})
		t.Run("interrupted when "+name, func(t *testing.T) {
			root := testRoot(t)
			interrupt(t, program, root, os.Interrupt, reached)
			if left := leftovers(t, root); len(left) != 0 {
				t.Errorf("left:\n%s", strings.Join(left, "\n"))
			}
		})
	}
	t.Run("down after a crash", func(t *testing.T) {
		root := testRoot(t)
		interrupt(t, program, root, syscall.SIGKILL, points["a container runs"])
		if err := Down(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		if left := leftovers(t, root); len(left) != 0 {
			t.Errorf("left:\n%s", strings.Join(left, "\n"))
		}
	})
}

// interrupt starts `lab up`, sends sig as soon as reached, and waits for its end.
func interrupt(t *testing.T, program, root string, sig os.Signal, reached func(string) bool) {
	t.Helper()
	cmd := exec.Command(program, "--root", root, "up")
	end := &tail{limit: 2000}
	cmd.Stdout, cmd.Stderr = end, end
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for !reached(root) {
		if time.Now().After(deadline) || startTime(cmd.Process.Pid) == "" {
			t.Fatalf("up never got that far\n%s", end)
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("up ended well before it could be interrupted")
	}
}
