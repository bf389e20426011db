//go:build lab

package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/lab"
)

// The Tab key in real shells, by the scripts that packages install: names and
// descriptions come from the flake, after one evaluation for all three, and
// nothing is offered, said or written where there is no flake. The manual pages are
// read on the way.
func TestCompletionInRealShells(t *testing.T) {
	in := newInfra(t, `{
      hosts.alpha.address = "root@host1";
      hosts.beta.address = "ssh://root@host2:22";
      vms.webtab = { host = "alpha"; target = "root@webtab.example.com"; tags = [ "prod" "$(touch /srv/ran)" "`+"`touch /srv/ran`"+`" ]; };
      vms.dbtab = { host = throw "it is not known yet"; };
    }`, map[string]string{"webtab": vmModule("webtab")})
	installDocs(t)
	output(t, world.operator, "rm", "-rf", "/root/.cache/ferry/completion")
	calls := spyOnNix(t, world.operator)
	eventually(t, "the flake's names to be known", time.Minute, func() bool {
		return strings.Contains(in.ferry("__complete", "rebuild", "").want(0).stdout, "webtab\ton alpha; tags: prod, $(touch /srv/ran)")
	})
	for _, shell := range []struct{ name, start, setUp, list string }{
		{"bash", "bash --norc -i", ". /usr/share/bash-completion/bash_completion", "\t\t"},
		{"zsh", "zsh -f -i", "autoload -U compinit; compinit -u -D", "\t"},
		{"fish", "fish -i", "true", "\t"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			s := in.shell(t, shell.start)
			s.line(shell.setUp)
			s.types("ferry rebuild "+shell.list, "dbtab", "webtab", "on alpha; tags: prod")
			s.completes("we\tro\tsw\t", "<ferry><rebuild><webtab><root@host1><switch>")
			s.completes("ferry rebuild we\tboo\t", "<ferry><rebuild><webtab><boot>")
			s.completes("ferry stop we\t--host be\t", "<ferry><stop><webtab><--host><beta>")
			s.completes("ferry rebuild we\tss\t", "<ferry><rebuild><webtab><ssh://root@host2:22>")
			s.completes("ferry rebuild webtab --settle=k\t", "<ferry><rebuild><webtab><--settle=keep>")
			s.line("cd /srv")
			s.completes("ferry rebuild \t\tx", "<ferry><rebuild><x>")
			s.seen = 0
			for _, message := range []string{"rror", "arning", "ebug"} {
				if said := s.said(); strings.Contains(said, message) {
					t.Errorf("there were messages:\n%s", said)
				}
			}
		})
	}
	if said := calls(); strings.Count(said, "nix ") != 1 || !strings.Contains(said, " eval ") {
		t.Errorf("wanted one evaluation and nothing else of Nix:\n%s", said)
	}
	output(t, world.operator, "test", "!", "-e", "/srv/ran")
	if changed := in.op("git", "-C", in.dir, "status", "--porcelain"); changed != "" {
		t.Errorf("the flake was changed:\n%s", changed)
	}
}

// installDocs installs on the operator what packages do, and reads the manual.
func installDocs(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "run", "ferry/cmd/docs", "-o", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.CopyFS(world.operator.Path("/usr/local"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = world.operator.Output(context.WithoutCancel(t.Context()), "sh", "-c", "cd /usr/local/share && rm -rf man/man1/* bash-completion zsh fish")
	})
	if said := output(t, world.operator, "sh", "-c", `for f in /usr/local/share/man/man1/*; do man --warnings -E UTF-8 -l "$f" 2>&1 >/dev/null; done`); said != "" {
		t.Errorf("man warns:\n%s", said)
	}
	page := output(t, world.operator, "env", "MANWIDTH=100", "man", "ferry-rebuild")
	for _, part := range []string{"--confirm-timeout=DURATION", "EXIT STATUS", "failed and rolled back", "ferry rebuild web --restart=if-needed"} {
		if !strings.Contains(page, part) {
			t.Errorf("the manual page lacks %q:\n%s", part, page)
		}
	}
}

// terminal is a shell that somebody types into.
type terminal struct {
	t        *testing.T
	keyboard io.Writer

	mu     sync.Mutex
	screen bytes.Buffer
	seen   int // so much of the screen was looked at
}

// shell starts a shell in the flake's directory, which ends with the test.
func (in *infra) shell(t *testing.T, start string) *terminal {
	t.Helper()
	keys, keyboard := io.Pipe()
	s := &terminal{t: t, keyboard: keyboard}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = world.operator.Run(ctx, lab.Cmd{
			// A terminal of the container's own, which a shell finds in /dev.
			Args: []string{"script", "--quiet", "--flush", "--command", "exec " + start, "/dev/null"},
			Env:  []string{"PS1=> ", "NO_COLOR=1", "XDG_DATA_DIRS=/usr/local/share:/usr/share"},
			Dir:  in.dir, TTY: true, Stdin: keys, Stdout: s,
		})
	}()
	t.Cleanup(func() {
		cancel()
		keyboard.Close()
		<-ended
	})
	return s
}

func (s *terminal) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.Write(b)
}

var cursorMoves = regexp.MustCompile(`\x1b\[[0-9;?<>=]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[=>]`)

// said is what came since the last look, without what moves the cursor.
func (s *terminal) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cursorMoves.ReplaceAllString(s.screen.String()[s.seen:], "")
}

// types types the keys and waits until the screen has shown all of the texts.
func (s *terminal) types(keys string, wanted ...string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keyboard, keys); err != nil {
		s.t.Fatal(err)
	}
	patience := lab.NewPatience(time.Minute)
	for _, text := range wanted {
		for !strings.Contains(s.said(), text) {
			if patience.Over() {
				s.t.Fatalf("typed %q, wanted %q; the screen shows:\n%s", keys, text, s.said())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// line runs a command line.
func (s *terminal) line(command string) {
	s.t.Helper()
	s.types("printf '<%s>' begin; "+command+"; printf '<%s>' end\r", "<begin>", "<end>")
	s.looked()
}

// completes types a command line with tabs, has its words printed instead of run,
// and wants them.
func (s *terminal) completes(keys, words string) {
	s.t.Helper()
	s.types(keys+"\x01printf '<%s>' \x05; printf '<%s>' end\r", words, "<end>")
	s.looked()
}

func (s *terminal) looked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = s.screen.Len()
}
