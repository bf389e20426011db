package plan

import (
	"errors"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const (
	runnerA = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web")
	runnerB = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-microvm-qemu-web")
	systemA = microvm.StorePath("/nix/store/1111111111111111111111111111111a-nixos-system-web")
	systemB = microvm.StorePath("/nix/store/2222222222222222222222222222222b-nixos-system-web")
)

func up(current, booted, running microvm.StorePath) hostapi.VMState {
	return hostapi.VMState{
		Exists: current != "", Current: current, Booted: booted, Running: running,
		Unit: hostapi.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running"},
	}
}

func down(state string) hostapi.VMState {
	return hostapi.VMState{Exists: true, Current: runnerA, Unit: hostapi.UnitState{ActiveState: state, SubState: "dead"}}
}

func TestDecide(t *testing.T) {
	hw := []string{"memory 512 → 768 MiB"}
	inhibitors := []string{"dbus-implementation dbus → broker"}
	tests := []struct {
		name     string
		s        Situation
		install  bool
		activate hostapi.Activation
		waits    int
		stopped  bool
		target   bool
	}{
		{name: "nothing changed", s: Situation{VM: up(runnerA, runnerA, systemA), New: runnerA, System: systemA, Running: systemA, SameAsCurrent: true}, activate: hostapi.ActivateNone},
		{name: "nothing changed, but always", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartAlways}, VM: up(runnerA, runnerA, systemA), New: runnerA, System: systemA, Running: systemA, SameAsCurrent: true}, activate: hostapi.ActivateRestart},
		{name: "new system, live", s: Situation{Intent: hostapi.Intent{TargetKnown: true}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: hostapi.ActivateLive},
		{name: "new system, live, no target", s: Situation{VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: hostapi.ActivateLive, target: true},
		{name: "new system, not live", s: Situation{LiveObstacle: "no sshd", VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: hostapi.ActivateRestart},
		{name: "new system, not live, never", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartNever}, LiveObstacle: "no sshd", VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: hostapi.ActivateNone, waits: 1},
		{name: "installed before, activated now", s: Situation{Intent: hostapi.Intent{TargetKnown: true}, VM: up(runnerB, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, SameAsCurrent: true}, activate: hostapi.ActivateLive},
		{name: "A to B live to A", s: Situation{Intent: hostapi.Intent{TargetKnown: true}, VM: up(runnerB, runnerA, systemB), New: runnerA, System: systemA, Running: systemB}, install: true, activate: hostapi.ActivateLive},
		{name: "the guest already runs it, only the commit is missing", s: Situation{VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemB}, install: true, activate: hostapi.ActivateNone},
		{name: "hardware only, auto", s: Situation{VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemA, Running: systemA, Hardware: hw}, install: true, activate: hostapi.ActivateNone, waits: 1},
		{name: "hardware only, if-needed", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartIfNeeded}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemA, Running: systemA, Hardware: hw}, install: true, activate: hostapi.ActivateRestart},
		{name: "hardware and system, auto", s: Situation{Intent: hostapi.Intent{TargetKnown: true}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Hardware: hw}, install: true, activate: hostapi.ActivateLive, waits: 1},
		{name: "hardware and system, if-needed: one restart", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartIfNeeded}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Hardware: hw}, install: true, activate: hostapi.ActivateRestart},
		{name: "hardware waits since an earlier run", s: Situation{VM: up(runnerB, runnerA, systemA), New: runnerB, System: systemA, Running: systemA, SameAsCurrent: true, Hardware: hw}, activate: hostapi.ActivateNone, waits: 1},
		{name: "inhibited, auto: installed, no live switch is tried", s: Situation{Intent: hostapi.Intent{TargetKnown: true}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Inhibitors: inhibitors}, install: true, activate: hostapi.ActivateNone, waits: 2},
		{name: "inhibited, no target is needed", s: Situation{VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Inhibitors: inhibitors}, install: true, activate: hostapi.ActivateNone, waits: 2},
		{name: "inhibited since an earlier run", s: Situation{VM: up(runnerB, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, SameAsCurrent: true, Inhibitors: inhibitors}, activate: hostapi.ActivateNone, waits: 2},
		{name: "inhibited, if-needed: one restart", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartIfNeeded}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Inhibitors: inhibitors}, install: true, activate: hostapi.ActivateRestart},
		{name: "inhibited, never", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartNever}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Inhibitors: inhibitors}, install: true, activate: hostapi.ActivateNone, waits: 2},
		{name: "inhibited, always", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartAlways}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Inhibitors: inhibitors}, install: true, activate: hostapi.ActivateRestart},
		{name: "inhibited, not live anyway", s: Situation{LiveObstacle: "no sshd", VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Inhibitors: inhibitors}, install: true, activate: hostapi.ActivateRestart},
		{name: "inhibited, and hardware, auto", s: Situation{VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Hardware: hw, Inhibitors: inhibitors}, install: true, activate: hostapi.ActivateNone, waits: 3},
		{name: "inhibited, boot", s: Situation{Intent: hostapi.Intent{Action: hostapi.ActionBoot}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Inhibitors: inhibitors}, install: true, activate: hostapi.ActivateNone},
		{name: "inhibited, dry-activate does not check", s: Situation{Intent: hostapi.Intent{Action: hostapi.ActionDryActivate, TargetKnown: true}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA, Inhibitors: inhibitors}, activate: hostapi.ActivateLive},
		{name: "a new VM starts", s: Situation{VM: hostapi.VMState{Unit: hostapi.UnitState{ActiveState: "inactive"}}, New: runnerA, System: systemA}, install: true, activate: hostapi.ActivateStart},
		{name: "a new VM, never", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartNever}, VM: hostapi.VMState{Unit: hostapi.UnitState{ActiveState: "inactive"}}, New: runnerA, System: systemA}, install: true, activate: hostapi.ActivateNone, stopped: true},
		{name: "a stopped VM stays stopped", s: Situation{VM: down("inactive"), New: runnerB, System: systemB}, install: true, activate: hostapi.ActivateNone, stopped: true},
		{name: "a stopped VM, always", s: Situation{Intent: hostapi.Intent{Restart: hostapi.RestartAlways}, VM: down("inactive"), New: runnerB, System: systemB}, install: true, activate: hostapi.ActivateStart},
		{name: "a failed VM is restarted", s: Situation{VM: down("failed"), New: runnerB, System: systemB}, install: true, activate: hostapi.ActivateRestart},
		{name: "a VM in a restart loop is restarted", s: Situation{VM: down("activating"), New: runnerB, System: systemB}, install: true, activate: hostapi.ActivateRestart},
		{name: "boot installs only", s: Situation{Intent: hostapi.Intent{Action: hostapi.ActionBoot, Restart: hostapi.RestartAlways}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, install: true, activate: hostapi.ActivateNone},
		{name: "test leaves current", s: Situation{Intent: hostapi.Intent{Action: hostapi.ActionTest, TargetKnown: true}, VM: up(runnerA, runnerA, systemA), New: runnerB, System: systemB, Running: systemA}, activate: hostapi.ActivateLive},
		{name: "a runner without a system that is booted", s: Situation{LiveObstacle: "no system", VM: up(runnerA, runnerA, ""), New: runnerA, SameAsCurrent: true}, activate: hostapi.ActivateNone},
		{name: "another runner without a system", s: Situation{LiveObstacle: "no system", VM: up(runnerA, runnerA, ""), New: runnerB}, install: true, activate: hostapi.ActivateRestart},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.s.Action == "" {
				tt.s.Action = hostapi.ActionSwitch
			}
			if tt.s.Restart == "" {
				tt.s.Restart = hostapi.RestartAuto
			}
			p, err := Decide(tt.s)
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
	for name, s := range map[string]Situation{
		"not running": {VM: down("inactive")},
		"not live":    {VM: up(runnerA, runnerA, systemA), LiveObstacle: "services.openssh is not enabled"},
	} {
		for _, a := range []hostapi.Action{hostapi.ActionTest, hostapi.ActionDryActivate} {
			s.Action = a
			_, err := Decide(s)
			var f *hostapi.Failure
			if !errors.As(err, &f) || f.Kind != hostapi.KindRefused {
				t.Errorf("%s, %s: %v", name, a, err)
			}
		}
	}
	_, err := Decide(Situation{Intent: hostapi.Intent{Action: hostapi.ActionTest}, VM: up(runnerA, runnerA, systemA), System: systemB, Running: systemA, Inhibitors: []string{"dbus-implementation dbus → broker"}})
	if err == nil || !strings.Contains(err.Error(), "dbus-implementation dbus → broker") {
		t.Errorf("a test that NixOS refuses: %v", err)
	}
	if _, err := Decide(Situation{Intent: hostapi.Intent{Action: "reboot"}}); err == nil {
		t.Error("an unknown action was decided on")
	}
}

func TestRecordChangesAreNamed(t *testing.T) {
	n := func(i int) *int { return &i }
	from := &microvm.Record{Mem: n(512), VCPU: n(1), Kernel: "/nix/store/h1-linux-6.12", Volumes: []microvm.Volume{{Image: "var.img", Size: n(100)}}}
	to := &microvm.Record{Mem: n(768), VCPU: n(2), Kernel: "/nix/store/h2-linux-6.12", Interfaces: []microvm.Interface{{ID: "vm-web", Type: "tap"}}}
	got := strings.Join(RecordChanges(from, to), "\n")
	for _, want := range []string{"memory 512 → 768 MiB", "vcpu 1 → 2", "volume var.img is gone", "interface vm-web is new", "kernel rebuilt (linux-6.12)"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if RecordChanges(from, from) != nil || RecordChanges(nil, to) != nil || RecordChanges(from, nil) != nil {
		t.Error("changes were found where there are none to know")
	}
}
