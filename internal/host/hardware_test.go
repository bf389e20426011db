package host

import (
	"strings"
	"testing"

	"ferry/internal/host/plan"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

func TestHardwareMasksTheSystemInside(t *testing.T) {
	h := newTestHost(t)
	h.makeRunner(runnerA, systemA, "-m 512M")
	h.makeRunner(runnerB, systemB, "-m 512M")
	if got := h.changes(runnerA, runnerB); got != nil {
		t.Errorf("only the system differs, but: %q", got)
	}
	h.makeRunner(runnerB, systemB, "-m 768M")
	got := strings.Join(h.changes(runnerA, runnerB), "\n")
	if !strings.Contains(got, "512M") || !strings.Contains(got, "768M") {
		t.Errorf("changed arguments: %q", got)
	}
	h.makeRunner(runnerB, systemB, "-m 512M")
	h.write(string(runnerB)+"/bin/tap-up", "ip tuntap add vm-web\n")
	if got := h.changes(runnerA, runnerB); len(got) != 1 || got[0] != "bin/tap-up is new" {
		t.Errorf("a new script: %q", got)
	}
	if got := h.changes(runnerB, runnerA); len(got) != 1 || got[0] != "bin/tap-up is gone" {
		t.Errorf("a script less: %q", got)
	}
}

// Some hypervisors take a configuration file of the store that names the
// system: its path differs with the system, its masked content does not.
func TestHardwareFollowsTextFiles(t *testing.T) {
	h := newTestHost(t)
	conf := func(c string) string { return "/nix/store/" + strings.Repeat(c, 32) + "-firecracker.json" }
	for c, sys := range map[string]microvm.StorePath{"c": systemA, "d": systemB} {
		h.write(conf(c), `{"boot_args": "init=`+string(sys)+`/init", "mem": 512}`)
	}
	h.makeRunner(runnerA, systemA, "--config-file "+conf("c"))
	h.makeRunner(runnerB, systemB, "--config-file "+conf("d"))
	if got := h.changes(runnerA, runnerB); got != nil {
		t.Errorf("only the system differs, but: %q", got)
	}
	h.write(conf("d"), `{"boot_args": "init=`+string(systemB)+`/init", "mem": 768}`)
	if got := h.changes(runnerA, runnerB); got == nil {
		t.Error("another configuration file was not noticed")
	}
	// A binary is compared by path: what is in it is not ours to read.
	h.write(conf("c"), "ELF\x00same")
	h.write(conf("d"), "ELF\x00same")
	if got := h.changes(runnerA, runnerB); got == nil {
		t.Error("another kernel was not noticed")
	}
}

func (h *testHost) changes(a, b microvm.StorePath) []string {
	h.t.Helper()
	from, err := runner.Open(h.layout.Root, a)
	if err != nil {
		h.t.Fatal(err)
	}
	to, err := runner.Open(h.layout.Root, b)
	if err != nil {
		h.t.Fatal(err)
	}
	got, err := plan.HardwareChanges(from, to, nil, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return got
}

func TestOpenRunnerRefusesOtherPackages(t *testing.T) {
	h := newTestHost(t)
	h.write(string(systemA)+"/bin/hello", "")
	if _, err := runner.Open(h.layout.Root, systemA); err == nil || !strings.Contains(err.Error(), "is not a runner") {
		t.Errorf("got %v", err)
	}
}
