package plan

import (
	"slices"
	"strings"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
	"ferry/internal/runner/runnertest"
)

type noRecords struct{}

func (noRecords) Record(microvm.StorePath) *microvm.Record { return nil }

func intent(r hostapi.RestartPolicy) hostapi.Intent {
	return hostapi.Intent{Action: hostapi.ActionSwitch, Restart: r, TargetKnown: true}
}

func inhibitedHost(t *testing.T, running, next string) (*hosttest.Host, Input) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "")
	h.Write(string(hosttest.SystemA)+"/switch-inhibitors", running)
	h.Write(string(hosttest.SystemB)+"/switch-inhibitors", next)
	return h, Input{
		Root: h.Layout.Root, Records: noRecords{}, VM: up(hosttest.RunnerA, hosttest.RunnerA, hosttest.SystemA),
		Intent: intent(hostapi.RestartAuto), Runner: hosttest.RunnerB, Built: true,
	}
}

func TestInhibitedSystemWaits(t *testing.T) {
	_, in := inhibitedHost(t, `{"dbus-implementation": "dbus"}`, `{"dbus-implementation": "broker"}`)
	p, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"switch inhibitor dbus-implementation dbus → broker", "the system inside"}
	if p.Activation != hostapi.ActivateNone || !p.Install || !slices.Equal(p.Waits, want) {
		t.Errorf("got %+v", p)
	}
	in.Intent = intent(hostapi.RestartIfNeeded)
	p, err = Make(in)
	if err != nil || p.Activation != hostapi.ActivateRestart || !strings.Contains(p.Reason, "dbus-implementation dbus → broker") || len(p.Waits) > 0 {
		t.Errorf("if-needed: %+v, %v", p, err)
	}
}

// What counts is what the guest runs, whatever the host believes.
func TestInhibitorsAreThoseOfWhatTheGuestRuns(t *testing.T) {
	h, in := inhibitedHost(t, `{"dbus-implementation": "dbus"}`, `{"dbus-implementation": "broker"}`)
	other := microvm.StorePath("/nix/store/" + strings.Repeat("9", 32) + "-nixos-system-web")
	h.Write(string(other)+"/switch-inhibitors", `{"dbus-implementation": "broker"}`)
	in.GuestSystem = other
	if p, err := Make(in); err != nil || p.Activation != hostapi.ActivateLive {
		t.Errorf("it runs one that agrees: %+v, %v", p, err)
	}
	in.VM.Running, in.GuestSystem = other, hosttest.SystemA
	if p, err := Make(in); err != nil || p.Activation != hostapi.ActivateNone || len(p.Inhibitors) != 1 {
		t.Errorf("it runs one that doesn't: %+v, %v", p, err)
	}
	in.GuestSystem = hosttest.SystemB
	if p, err := Make(in); err != nil || len(p.Inhibitors)+len(p.Waits) != 0 {
		t.Errorf("it runs the new one: %+v, %v", p, err)
	}
}

func TestInhibitorsArePredictedFromTheRecord(t *testing.T) {
	_, in := inhibitedHost(t, `{"dbus-implementation": "dbus"}`, "")
	yes := true
	in.Runner, in.Built = "", false
	in.Record = &microvm.Record{
		Runner: microvm.Output{Out: hosttest.RunnerB}, System: &microvm.Output{Out: hosttest.SystemB}, SSH: &yes,
		Shares: []microvm.Share{{Source: "/nix/store"}}, SwitchInhibitors: map[string]string{"dbus-implementation": "broker"},
	}
	if p, err := Make(in); err != nil || !p.Predicted || p.Activation != hostapi.ActivateNone || len(p.Inhibitors) != 1 {
		t.Errorf("got %+v, %v", p, err)
	}
}

// A VM whose store is on a disk of its own: its system need not be in the host's
// store, no live switch is possible, and the image is not named as hardware.
func TestStoreDiskNeedsARestart(t *testing.T) {
	for _, hypervisor := range []string{"firecracker", "crosvm", "kvmtool", "stratovirt", "alioth"} {
		root := t.TempDir()
		from := runnertest.Make(t, root, hypervisor, runnertest.Values{"systemSymlink": "false"})
		to := runnertest.Make(t, root, hypervisor, runnertest.Values{"systemSymlink": "false", "system": "nixos-system-web-26.05@new", "without": "system"})
		p, err := Make(Input{
			Root: root, Records: noRecords{}, VM: up(from.Path, from.Path, from.System),
			Intent: intent(hostapi.RestartAuto), Runner: to.Path, Built: true,
		})
		if err != nil || p.Activation != hostapi.ActivateRestart || len(p.Hardware) > 0 || p.System != to.System {
			t.Errorf("%s: %+v, %v", hypervisor, p, err)
		}
		if r, _ := runner.Open(root, to.Path); r.SystemHere() {
			t.Error("the system is in the store")
		}
		if !strings.Contains(p.Reason, "on a disk of its own") {
			t.Errorf("%s: %q", hypervisor, p.Reason)
		}
	}
}
