//go:build lab

package hostclient

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/remote"
	"ferry/internal/remote/remotetest"
)

// leftovers are the directories that helper.sh makes for a helper that runs
// once.
func leftovers(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"/run", "/tmp", "/var/tmp", "/var/lib"} {
		found, err := filepath.Glob(filepath.Join(dir, "ferry-once.*"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// A run that must leave no trace gets the helper for one process only.
func TestHelperOnce(t *testing.T) {
	for _, how := range []string{"gzip", "plain"} {
		t.Run(how, func(t *testing.T) {
			h, lines := newHelper(t), []string(nil)
			if how == "plain" {
				lines = []string{"SetEnv SHLVL=2 PATH=" + binWith(t, "dd", "head")}
			}
			s := remotetest.Start(t, lines...)
			st := starter{c: onBox(t), find: only(h), base: filepath.Join(t.TempDir(), "ferry")}
			p, err := st.startOnce(remotetest.Within(t, 30*time.Second), []string{"host", "a 'b'\n!"})
			if err != nil {
				t.Fatal(err)
			}
			if left := leftovers(t); left != nil {
				t.Errorf("while the helper runs, there is %v", left)
			}
			_, _ = io.WriteString(p.Stdin, "request\n")
			_ = p.Stdin.Close()
			out, _ := io.ReadAll(p.Stdout)
			if want := "helper host a 'b'\n! 0022\nrequest\n"; string(out) != want {
				t.Errorf("got %q, want %q", out, want)
			}
			var e *remote.ExitError
			if err := p.Wait(); !errors.As(err, &e) || e.Code != 3 {
				t.Errorf("Wait: %v", err)
			}
			if _, err := os.Stat(st.base); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is there: %v", st.base, err)
			}
			if s.Sessions(t) != 2 || s.Connections(t) != 1 {
				t.Errorf("%d sessions on %d connections", s.Sessions(t), s.Connections(t))
			}
		})
	}
}

// One that is there already is used.
func TestHelperOnceUsesWhatIsThere(t *testing.T) {
	st := localStarter(t)
	converse(t, st)
	p, err := st.startOnce(remotetest.Within(t, 30*time.Second), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Stdin.Close()
	if out, _ := io.ReadAll(p.Stdout); !strings.HasPrefix(string(out), "helper") {
		t.Errorf("got %q", out)
	}
}

// A damaged or cut upload does not run and leaves nothing.
func TestHelperOnceDamaged(t *testing.T) {
	st := localStarter(t)
	st.otherwise()
	if p, err := st.startOnce(remotetest.Within(t, 30*time.Second), nil); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v, %v", p, err)
	}
	if left := leftovers(t); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestHelperOnceInterrupted(t *testing.T) {
	st := localStarter(t)
	ctx, cancel := context.WithCancel(t.Context())
	p, err := st.c.Start(ctx, st.command("once", st.own(), "plain", "10", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.Stdin.Write(make([]byte, 1<<20))
	remotetest.WaitFor(t, "the temporary directory", func() bool { return leftovers(t) != nil })
	cancel()
	_ = p.Wait()
	remotetest.WaitFor(t, "its removal", func() bool { return leftovers(t) == nil })
}
