//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// A builder that dies in the middle of a build: its sshd, its Nix, all of it.
func TestBuilderDies(t *testing.T) {
	builder := startBuilder(t)
	in := newInfra(t, "", map[string]string{"orphan": vmModule("orphan")})
	vm := onHost(t, world.host1, "orphan")
	args := []string{"rebuild", "orphan", toHost1, "--build-on", "ssh-ng://deploy@builder"}
	in.deploy(result.OutcomeStarted, args...)
	in.write("orphan.nix", vmModule("orphan", slowBuild("orphan")))
	for name, kill := range map[string]func(){
		"connection": func() {
			output(t, builder, "sh", "-c", `pkill -9 -u deploy -x sshd-session || pkill -9 -u deploy sshd`)
		},
		"nix": func() { output(t, builder, "systemctl", "kill", "-s", "KILL", "nix-daemon.service") },
		"machine": func() {
			if err := builder.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if !builder.Running() {
				if err := builder.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			before := state(t)
			run := in.begin(args...)
			run.building(builder, "orphan")
			kill()
			run.wait().want(1, "error: orphan: building", "deploy@builder", "orphan: nothing was changed")
			vm.puts(before)
		})
	}
	if err := builder.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.write("orphan.nix", vmModule("orphan", `lab.note = "after";`))
	in.deploy(result.OutcomeRestarted, args...)
}

// puts waits for the lock to be free, and fails the test if the host is not as
// before.
func (v vmOn) puts(before map[string]string) {
	v.t.Helper()
	eventually(v.t, "the lock to be free", 20*time.Second, func() bool { return !v.locked() })
	for m, after := range state(v.t) {
		if after != before[m] {
			v.t.Errorf("%s was changed:\n%s", m, difference(before[m], after))
		}
	}
}

// Ctrl-C ends an evaluation on the host, here one that waits for a build.
// NixOS/nixpkgs#403269
func TestInterruptedEvaluationEnds(t *testing.T) {
	for _, signal := range []string{"INT", "KILL"} {
		t.Run(signal, func(t *testing.T) {
			name := strings.ToLower("evalstop-" + signal)
			in := newInfra(t, "", map[string]string{name: vmModule(name)})
			vm := onHost(t, world.host1, name)
			args := []string{"rebuild", name, toHost1, "--eval-on", "host"}
			in.deploy(result.OutcomeStarted, args...)
			in.write(name+".nix", vmModule(name, fmt.Sprintf(
				`lab.note = builtins.readFile (packages.run "slow-%[1]s" { } "echo slow-%[1]s begins; sleep 86400; echo >$out");`, name)))
			before := state(t)
			run := in.begin(args...)
			run.building(world.host1, name)
			in.ferry(args...).want(5, name+" is locked by root@operator", "nothing was changed")
			run.signal(signal)
			if r := run.wait(); signal != "KILL" {
				r.want(130, "error: "+name+": interrupted", name+": nothing was changed")
			}
			vm.untouched(before)
			if left := output(t, world.host1, "sh", "-c", "ls -d /tmp/ferry-lock-* 2>/dev/null || :"); left != "" {
				t.Errorf("left: %s", left)
			}
			in.write(name+".nix", vmModule(name, `lab.note = "after";`))
			in.deploy(result.OutcomeRestarted, args...)
		})
	}
}

// Ctrl-C ends a build, wherever it runs.
// NixOS/nixpkgs#403269
func TestInterruptedBuildElsewhereEnds(t *testing.T) {
	builder := startBuilder(t)
	for on, m := range map[string]*lab.Machine{"local": world.operator, "ssh-ng://root@builder": builder} {
		for _, signal := range []string{"INT", "TERM"} {
			t.Run(m.Name+" "+signal, func(t *testing.T) {
				name := strings.ToLower("stop-" + m.Name + "-" + signal)
				in := newInfra(t, "", map[string]string{name: vmModule(name)})
				vm := onHost(t, world.host1, name)
				args := []string{"rebuild", name, toHost1, "--build-on", on}
				in.deploy(result.OutcomeStarted, args...)
				in.write(name+".nix", vmModule(name, slowBuild(name)))
				before := state(t)
				run := in.begin(args...)
				run.building(m, name)
				if !vm.locked() {
					t.Error("the VM is not locked during the build")
				}
				run.signal(signal)
				run.wait().want(130, "error: "+name+": interrupted", name+": nothing was changed")
				eventually(t, "the end of the build", 20*time.Second, func() bool { return builders(t, m, name) == 0 })
				vm.puts(before)
				in.write(name+".nix", vmModule(name, `lab.note = "after";`))
				in.deploy(result.OutcomeRestarted, args...)
			})
		}
	}
}
