package plan

import (
	"strings"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

func TestHardwareMasksTheSystemInside(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 512M")
	if got := changes(h, hosttest.RunnerA, hosttest.RunnerB); got != nil {
		t.Errorf("only the system differs, but: %q", got)
	}
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 768M")
	got := strings.Join(changes(h, hosttest.RunnerA, hosttest.RunnerB), "\n")
	if !strings.Contains(got, "512M") || !strings.Contains(got, "768M") {
		t.Errorf("changed arguments: %q", got)
	}
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 512M")
	h.Write(string(hosttest.RunnerB)+"/bin/tap-up", "ip tuntap add vm-web\n")
	if got := changes(h, hosttest.RunnerA, hosttest.RunnerB); len(got) != 1 || got[0] != "setup of tap interfaces is new" {
		t.Errorf("a new script: %q", got)
	}
	if got := changes(h, hosttest.RunnerB, hosttest.RunnerA); len(got) != 1 || got[0] != "setup of tap interfaces is gone" {
		t.Errorf("a script less: %q", got)
	}
}

// Some hypervisors take a configuration file of the store that names the
// system: its path differs with the system, its masked content does not.
func TestHardwareFollowsTextFiles(t *testing.T) {
	h := hosttest.New(t)
	conf := func(c string) string { return "/nix/store/" + strings.Repeat(c, 32) + "-firecracker.json" }
	for c, sys := range map[string]microvm.StorePath{"c": hosttest.SystemA, "d": hosttest.SystemB} {
		h.Write(conf(c), `{"boot_args": "init=`+string(sys)+`/init", "mem": 512}`)
	}
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "--config-file "+conf("c"))
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "--config-file "+conf("d"))
	if got := changes(h, hosttest.RunnerA, hosttest.RunnerB); got != nil {
		t.Errorf("only the system differs, but: %q", got)
	}
	h.Write(conf("d"), `{"boot_args": "init=`+string(hosttest.SystemB)+`/init", "mem": 768}`)
	if got := changes(h, hosttest.RunnerA, hosttest.RunnerB); got == nil {
		t.Error("another configuration file was not noticed")
	}
	// A binary is compared by path: what is in it is not ours to read.
	h.Write(conf("c"), "ELF\x00same")
	h.Write(conf("d"), "ELF\x00same")
	if got := changes(h, hosttest.RunnerA, hosttest.RunnerB); got == nil {
		t.Error("another kernel was not noticed")
	}
}

func changes(h *hosttest.Host, a, b microvm.StorePath) []string {
	h.T.Helper()
	from, err := runner.Open(h.Layout.Root, a)
	if err != nil {
		h.T.Fatal(err)
	}
	to, err := runner.Open(h.Layout.Root, b)
	if err != nil {
		h.T.Fatal(err)
	}
	got, err := HardwareChanges(from, to, nil, nil)
	if err != nil {
		h.T.Fatal(err)
	}
	return got
}

// Whatever a script holds, it does not differ from itself, and little is shown of
// what differs.
func FuzzArgumentChanges(f *testing.F) {
	f.Add("exec qemu -m 512M")
	f.Add("\x00\xff'\"\\")
	f.Fuzz(func(t *testing.T, script string) {
		if script != "" && argumentChanges("bin/x", script, script) != "bin/x differs" {
			t.Errorf("a script differs from itself: %s", argumentChanges("bin/x", script, script))
		}
		if shown := argumentChanges("bin/x", script, script+" more"); len(strings.Fields(shown)) > 2*maxShownArguments+6 {
			t.Errorf("too much is shown: %q", shown)
		}
	})
}
