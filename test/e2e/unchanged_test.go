//go:build lab

package e2e

import (
	"context"
	"strings"
	"testing"

	"ferry/internal/lab"
)

// hostState is everything on a host that a refused deployment must not touch:
// the VMs, the garbage collector's roots, the generations, the units' starts.
const hostState = `cd / && for d in /var/lib/microvms /nix/var/nix/gcroots /nix/var/nix/profiles; do
  find $d -printf '%p %y %m %u %g %l\n' -type f -exec sha256sum {} +
done | sort; systemctl show -p Id -p InvocationID 'microvm@*'`

const guestState = `readlink /run/current-system; cat /proc/sys/kernel/random/boot_id
find /nix/var/nix/profiles -printf '%p %l\n' | sort; ls -d /run/ferry/* 2>/dev/null | sort || :`

// state is what unchanged compares, of all machines that run.
func state(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range world.Machines() {
		script := map[bool]string{true: hostState, false: guestState}[strings.HasPrefix(m.Name, "host")]
		if m.Name != "operator" && m.Running() {
			all[m.Name] = output(t, m, "sh", "-c", script)
		}
	}
	return all
}

// unchanged fails the test if f changed anything on a host or guest.
func unchanged(t *testing.T, f func()) {
	t.Helper()
	before := state(t)
	f()
	for m, after := range state(t) {
		if after != before[m] {
			t.Errorf("%s was changed:\n%s", m, difference(before[m], after))
		}
	}
}

// difference is the lines that only one of the two has.
func difference(a, b string) string {
	var out strings.Builder
	only := func(sign, a, b string) {
		has := map[string]bool{}
		for line := range strings.Lines(b) {
			has[strings.TrimSpace(line)] = true
		}
		for line := range strings.Lines(a) {
			if !has[strings.TrimSpace(line)] {
				out.WriteString(sign + strings.TrimSpace(line) + "\n")
			}
		}
	}
	only("- ", a, b)
	only("+ ", b, a)
	return out.String()
}

// during runs a script on the machine, and another that undoes it when the test
// ends, also when it fails.
func during(t *testing.T, m *lab.Machine, do, undo string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		if _, err := m.Output(ctx, "sh", "-c", undo); err != nil {
			t.Errorf("%s: undoing: %v", m.Name, err)
		}
	})
	output(t, m, "sh", "-euc", do)
}

// history is the VM's last line of history on its host; empty where it has none.
func (v vmOn) history() string {
	v.t.Helper()
	return output(v.t, v.host, "sh", "-c", `tail -n 1 "/var/lib/ferry/vms/$1/history.jsonl" 2>/dev/null || :`, "sh", v.name)
}

// noDirectory fails the test if anything was installed for the VM.
func (v vmOn) noDirectory() {
	v.t.Helper()
	for _, p := range []string{v.dir(), "/nix/var/nix/gcroots/microvm/" + v.name, "/nix/var/nix/profiles/ferry/" + v.name} {
		if got := output(v.t, v.host, "sh", "-c", `ls -d "$1" 2>/dev/null || :`, "sh", p); got != "" {
			v.t.Errorf("%s is there", got)
		}
	}
}
