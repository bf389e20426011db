package host

import (
	"errors"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

const (
	runnerA = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web")
	runnerB = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-microvm-qemu-web")
	systemA = microvm.StorePath("/nix/store/1111111111111111111111111111111a-nixos-system-web")
	systemB = microvm.StorePath("/nix/store/2222222222222222222222222222222b-nixos-system-web")
)

func up(current, booted, running microvm.StorePath) VMState {
	return VMState{
		Exists: current != "", Current: current, Booted: booted, Running: running,
		Unit: UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running"},
	}
}

func down(state string) VMState {
	return VMState{Exists: true, Current: runnerA, Unit: UnitState{ActiveState: state, SubState: "dead"}}
}

func TestDecide(t *testing.T) {
	hw := []string{"memory 512 → 768 MiB"}
	tests := []struct {
		name     string
		s        situation
		install  bool
		activate Activation
		waits    int
		stopped  bool
		target   bool
	}{
		{name: "nothing changed", s: situation{VM: up(runnerA, runnerA, systemA), New: runnerA, System: systemA, Running: systemA, SameAsCurrent: true}, activate: ActivateNone},
		{name: "nothing changed, but always", s: situation{Intent: Intent{Restart: RestartAlways}, VM: up(runnerA, runnerA, systemA), New: runnerA, System: systemA, Running: systemA, SameAsCurrent: true}, activate: ActivateRestart},
		{name: "new system, live", s: situation{Intent: Intent{TargetKnown: true}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: ActivateLive},
		{name: "new system, live, no target", s: situation{VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: ActivateLive, target: true},
		{name: "new system, not live", s: situation{LiveObstacle: "no sshd", VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: ActivateRestart},
		{name: "new system, not live, never", s: situation{Intent: Intent{Restart: RestartNever}, LiveObstacle: "no sshd", VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: ActivateNone, waits: 1},
		{name: "installed before, activated now", s: situation{Intent: Intent{TargetKnown: true}, VM: up(runnerB, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, SameAsCurrent: true}, activate: ActivateLive},
		{name: "A to B live to A", s: situation{Intent: Intent{TargetKnown: true}, VM: up(runnerB, runnerA, systemB), New: runnerA, System: systemA, Running: systemB}, install: true, activate: ActivateLive},
		{name: "the guest already runs it, only the commit is missing", s: situation{VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemB}, install: true, activate: ActivateNone},
		{name: "hardware only, auto", s: situation{VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemA, Running: systemA, Hardware: hw}, install: true, activate: ActivateNone, waits: 1},
		{name: "hardware only, if-needed", s: situation{Intent: Intent{Restart: RestartIfNeeded}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemA, Running: systemA, Hardware: hw}, install: true, activate: ActivateRestart},
		{name: "hardware and system, auto", s: situation{Intent: Intent{TargetKnown: true}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Hardware: hw}, install: true, activate: ActivateLive, waits: 1},
		{name: "hardware and system, if-needed: one restart", s: situation{Intent: Intent{Restart: RestartIfNeeded}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Hardware: hw}, install: true, activate: ActivateRestart},
		{name: "hardware waits since an earlier run", s: situation{VM: up(runnerB, runnerA, systemA), New: runnerB, System: systemA, Running: systemA, SameAsCurrent: true, Hardware: hw}, activate: ActivateNone, waits: 1},
		{name: "a new VM starts", s: situation{VM: VMState{Unit: UnitState{ActiveState: "inactive"}}, New: runnerA, System: systemA}, install: true, activate: ActivateStart},
		{name: "a new VM, never", s: situation{Intent: Intent{Restart: RestartNever}, VM: VMState{Unit: UnitState{ActiveState: "inactive"}}, New: runnerA, System: systemA}, install: true, activate: ActivateNone, stopped: true},
		{name: "a stopped VM stays stopped", s: situation{VM: down("inactive"), New: runnerB, System: systemB}, install: true, activate: ActivateNone, stopped: true},
		{name: "a stopped VM, always", s: situation{Intent: Intent{Restart: RestartAlways}, VM: down("inactive"), New: runnerB, System: systemB}, install: true, activate: ActivateStart},
		{name: "a failed VM is restarted", s: situation{VM: down("failed"), New: runnerB, System: systemB}, install: true, activate: ActivateRestart},
		{name: "a VM in a restart loop is restarted", s: situation{VM: down("activating"), New: runnerB, System: systemB}, install: true, activate: ActivateRestart},
		{name: "boot installs only", s: situation{Intent: Intent{Action: ActionBoot, Restart: RestartAlways}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: ActivateNone},
		{name: "test leaves current", s: situation{Intent: Intent{Action: ActionTest, TargetKnown: true}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, activate: ActivateLive},
		{name: "a runner without a system that is booted", s: situation{LiveObstacle: "no system", VM: up(runnerA, runnerA, ""), New: runnerA, SameAsCurrent: true}, activate: ActivateNone},
		{name: "another runner without a system", s: situation{LiveObstacle: "no system", VM: up(runnerA, runnerA, ""), New: runnerB}, install: true, activate: ActivateRestart},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.s.Action == "" {
				tt.s.Action = ActionSwitch
			}
			if tt.s.Restart == "" {
				tt.s.Restart = RestartAuto
			}
			p, err := decide(tt.s)
			if err != nil {
				t.Fatal(err)
			}
			if p.Install != tt.install || p.Activation != tt.activate || len(p.Waits) != tt.waits || p.Stopped != tt.stopped || p.NeedTarget != tt.target {
				t.Errorf("got %+v", p)
			}
		})
	}
}

func TestDecideRefusesTrials(t *testing.T) {
	for name, s := range map[string]situation{
		"not running": {VM: down("inactive")},
		"not live":    {VM: up(runnerA, runnerA, systemA), LiveObstacle: "services.openssh is not enabled"},
	} {
		for _, a := range []Action{ActionTest, ActionDryActivate} {
			s.Action = a
			_, err := decide(s)
			var f *Failure
			if !errors.As(err, &f) || f.Kind != KindRefused {
				t.Errorf("%s, %s: %v", name, a, err)
			}
		}
	}
	if _, err := decide(situation{Intent: Intent{Action: "reboot"}}); err == nil {
		t.Error("an unknown action was decided on")
	}
}

func TestRecordChangesAreNamed(t *testing.T) {
	n := func(i int) *int { return &i }
	from := &microvm.Record{Mem: n(512), VCPU: n(1), Kernel: "/nix/store/h1-linux-6.12", Volumes: []microvm.Volume{{Image: "var.img", Size: n(100)}}}
	to := &microvm.Record{Mem: n(768), VCPU: n(2), Kernel: "/nix/store/h2-linux-6.12", Interfaces: []microvm.Interface{{ID: "vm-web", Type: "tap"}}}
	got := strings.Join(recordChanges(from, to), "\n")
	for _, want := range []string{"memory 512 → 768 MiB", "vcpu 1 → 2", "volume var.img is gone", "interface vm-web is new", "kernel rebuilt (linux-6.12)"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if recordChanges(from, from) != nil || recordChanges(nil, to) != nil || recordChanges(from, nil) != nil {
		t.Error("changes were found where there are none to know")
	}
}
