//go:build lab

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// liar makes a user of a machine whose login runs a script instead of what it is
// asked for, whatever that is.
func liar(t *testing.T, m *lab.Machine) (lies func(script string)) {
	t.Helper()
	during(t, m, `useradd -m liar && mkdir -p /home/liar/.ssh && sed 's,^,restrict\,command="/usr/local/bin/liar" ,' /root/.ssh/authorized_keys >/home/liar/.ssh/authorized_keys
chown -R liar /home/liar/.ssh; chmod 700 /home/liar/.ssh; chmod 600 /home/liar/.ssh/authorized_keys`, "userdel -rf liar 2>/dev/null; rm -f /usr/local/bin/liar")
	return func(script string) {
		t.Helper()
		err := m.Run(t.Context(), lab.Cmd{Args: []string{"sh", "-c", "cat >/usr/local/bin/liar; chmod 755 /usr/local/bin/liar"}, Stdin: strings.NewReader("#!/bin/bash\n" + script)})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// measured runs ferry and tells its peak resident memory in MiB.
func (in *infra) measured(limit time.Duration, args ...string) (*ran, int) {
	in.t.Helper()
	ctx, cancel := lab.WithPatience(in.t.Context(), limit)
	defer cancel()
	const watch = `"$@" & p=$!
while grep -s VmHWM /proc/$p/status >/run/peak.new && [ -s /run/peak.new ]; do mv /run/peak.new /run/peak; sleep 0.05; done
wait $p`
	var discard counter
	r := in.ferryContext(ctx, lab.Cmd{Args: []string{"setsid", "--wait", "sh", "-c", watch, "sh"}, Stderr: &discard}, args...)
	if ctx.Err() != nil {
		in.t.Fatalf("ferry %s did not end within %s; it printed %d bytes", strings.Join(args, " "), limit, discard)
	}
	kib, err := strconv.Atoi(strings.Fields(in.op("cat", "/run/peak"))[1])
	if err != nil {
		in.t.Fatal(err)
	}
	return r, kib >> 10
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// harmless fails the test if anything of what ferry printed would act on a
// terminal.
func (r *ran) harmless() {
	r.t.Helper()
	for name, s := range map[string]string{"stdout": r.stdout, "stderr": r.stderr} {
		for _, c := range s {
			if c != '\n' && c != '\t' && (unicode.IsControl(c) || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp)) {
				r.t.Fatalf("%U reached %s: %.2000q", c, name, s)
			}
		}
	}
}

// shortly is a run whose output is not shown whole.
func (r *ran) shortly() string {
	return fmt.Sprintf("exit code %d, %.600s … %s", r.code, r.stderr, r.stderr[max(0, len(r.stderr)-600):])
}

const (
	maxPeak = 160 // MiB of ferry on the operator, whatever it is sent
	escapes = `\033]0;owned\007\033[31m\033[2J\23331m\302\23331m\177\342\200\256evil\377\r`
	answer  = `echo 'ferry-helper: ok'; `
	event   = `printf '%s\n' `
)

// A host that is somebody else's: whatever it answers, ferry ends by itself with
// one message, holds little of it, and nothing of it acts on the terminal.
func TestHostileHost(t *testing.T) {
	in := newInfra(t, "", map[string]string{"victim": vmModule("victim")})
	lies := liar(t, world.host2)
	jsonEscapes := `"\u001b]0;owned\u0007\u001b[2J\u009b31m\u007f\u202eevil"`
	for _, c := range []struct{ name, script string }{
		{"nothing", "exit 0"},
		{"escapes instead of a helper", "for i in $(seq 1000); do printf '" + escapes + "\\n'; done; printf '" + escapes + "' >&2; exit 1"},
		{"escapes in the refusal", "printf 'ferry-helper: refused " + escapes + "\\n'"},
		{"a platform nobody knows", "printf 'ferry-helper: missing gzip " + escapes + " x86_64\\n'"},
		{"always missing", "cat >/dev/null & echo 'ferry-helper: missing plain Linux x86_64'; wait"},
		{"much before the helper", "head -c 100M /dev/zero | tr '\\0' A; echo; " + answer},
		{"many messages", "head -c 100M /dev/zero | tr '\\0' A >&2; exit 1"},
		{"a line without end", answer + "head -c 100M /dev/zero | tr '\\0' A"},
		{"many lines", answer + "yes '" + strings.Repeat("A", 4000) + "' | head -c 30M"},
		{"huge log events", answer + `l=$(head -c 6M /dev/zero | tr '\0' A); for i in $(seq 6); do printf '{"event":"log","source":"nix","line":"%s"}\n' "$l"; done`},
		{"huge results", answer + `l=$(head -c 6M /dev/zero | tr '\0' A); for i in $(seq 6); do printf '{"event":"result","result":{"stateDir":"%s"}}\n' "$l"; done`},
		{"escapes in events", answer + event + `'{"event":"log","source":"host","line":` + jsonEscapes + `}' '{"event":"log","source":"nix","line":` + jsonEscapes + `}'; printf '` + escapes + `\n'; ` +
			event + `'{"event":"error","error":{"kind":"refused","message":` + jsonEscapes + `,"hint":` + jsonEscapes + `,"log":[` + jsonEscapes + `]}}'`},
		{"results of other types", answer + event + `'{"event":"result","result":[1,2]}'`},
		{"no store path", answer + event + `'{"event":"result","result":{"vm":{"current":"/nix/store/$(reboot)"}}}'`},
		{"an error that says nothing", answer + event + `'{"event":"error"}'`},
		{"answers without end", answer + `yes '{"event":"result","result":{"name":"web"}}'`},
		{"events without end", answer + `yes '{"event":"alive"}'`},
		{"words without end before the helper", "yes 'Welcome to host2'"},
		{"a list without end", answer + `printf '{"event":"result","id":1,"result":{"vm":{},"missingShares":['; yes '"a",' | head -n 1000000 | tr -d '\n'; echo '"a"]}}'`},
		{"a long reason", answer + `l=$(head -c 3M /dev/zero | tr '\0' A); printf '{"event":"error","error":{"kind":"refused","message":"%s","hint":"%s"}}\n' "$l" "$l"`},
		{"deep JSON", answer + `head -c 4M /dev/zero | tr '\0' '['; echo`},
	} {
		t.Run(c.name, func(t *testing.T) {
			lies(c.script)
			here := *in
			here.t = t
			for _, args := range [][]string{
				{"rebuild", "victim", "liar@host2", "-v", "--json"},
				{"list", "liar@host2"}, {"history", "victim", "--host", "liar@host2", "--json"},
			} {
				r, peak := here.measured(90*time.Second, args...)
				if r.code == 0 && args[0] == "rebuild" || r.code > 5 || strings.Contains(r.stderr, "panic") {
					t.Errorf("%s: %s", args[0], r.shortly())
				}
				if args[0] == "rebuild" && r.errors() < 1 {
					t.Errorf("no message: %s", r.shortly())
				}
				r.harmless()
				if peak > maxPeak {
					t.Errorf("%s: %d MiB of memory", args[0], peak)
				}
				t.Logf("%s: exit code %d, %d MiB, %d bytes printed, ending in %.300q", args[0], r.code, peak, len(r.stdout)+len(r.stderr), r.stderr[max(0, len(r.stderr)-300):])
			}
		})
	}
}

// A guest that answers so when ferry looks at it.
func TestHostileGuest(t *testing.T) {
	in, vm := newLive(t, "turncoat")
	lies := liar(t, world.guest1)
	in.write("turncoat.nix", liveModule("turncoat", "second"))
	host := vm.contract()
	root := `case "$SSH_ORIGINAL_COMMAND" in *"echo root"*) echo root; exit;; esac; `
	marked := `m=$(printf '%s' "$SSH_ORIGINAL_COMMAND" | grep -ao 'ferry-[0-9a-f]\{24\}' | head -n 1); `
	for _, c := range []struct{ name, script, says string }{
		{"nothing", "exit 0", "the guest's answer is incomplete"},
		{"escapes", "printf '" + escapes + "\\n'; printf '" + escapes + "' >&2; exit 1", "running ferry's script `look`"},
		{"a line without end", "head -c 100M /dev/zero | tr '\\0' A", "prints more than 64 KiB before"},
		{"lines without end", "yes evil", "prints more than 64 KiB before"},
		{"lines without end from the script", marked + `echo "$m begun="; yes evil`, "more than 1 MiB that nobody asked for"},
		{"answers without end", marked + `yes "$m key=value" | awk '{print $1 " " $2 NR "=x"}' | head -n 3000000`, "the guest's answer is incomplete"},
		{"escapes in answers", marked + `printf "$m boot=1\n$m uid=0\n$m systemd=yes\n$m hostname=` + escapes + `\n$m current=$(printf '` + escapes + `')\n"`, "calls itself"},
		{"store paths that are none", marked + `printf '%s\n' "$m boot=1" "$m uid=0" "$m systemd=yes" "$m store=no" "$m hostname=turncoat" "$m current=/nix/store/\$(reboot)" "$m booted=../../etc"; exit 0`, "does not see the host's /nix/store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lies(root + c.script)
			here := *in
			here.t = t
			for _, args := range [][]string{{"rebuild", "turncoat", toHost1, "liar@box", "-v"}, {"rebuild", "turncoat", toHost1, "liar@box", "--json"}} {
				r, peak := here.measured(90*time.Second, args...)
				if r.code == 0 || r.code > 5 || strings.Contains(r.stderr, "panic") || r.errors() != 1 || !strings.Contains(r.stderr, c.says) {
					t.Errorf("wanted %q: %s", c.says, r.shortly())
				}
				r.harmless()
				if peak > maxPeak {
					t.Errorf("%s: %d MiB of memory", args[0], peak)
				}
				t.Logf("%s: exit code %d, %d MiB, %d bytes printed, ending in %.300q", args[0], r.code, peak, len(r.stdout)+len(r.stderr), r.stderr[max(0, len(r.stderr)-300):])
			}
			onHost(t, world.host1, "turncoat").wantContract(host)
		})
	}
	in.deploy(result.OutcomeSwitched, "rebuild", "turncoat")
}

// What the system inside prints while it is switched, and on its console, is
// shown without its escapes.
func TestHostileLogs(t *testing.T) {
	in, vm := newLive(t, "loud", fmt.Sprintf(`microvm.binScripts.microvm-register = "printf '%s\\n'";`, strings.ReplaceAll(escapes, `\`, `\\`)))
	vm.systemctl("restart")
	eventually(t, "the line in the journal", 20*time.Second, func() bool {
		r := in.ferry("logs", "loud", "--host", toHost1)
		r.harmless()
		return strings.Contains(r.stdout, "owned")
	})
	in.ferry("logs", "loud", "--host", toHost1, "--json").want(0, "owned").harmless()
}
