// Package plan decides what a deployment does: what differs between two runners, and
// whether what runs is switched live, restarted or left alone. It owns these rules and
// touches nothing: it must not know of units, links or guests.
package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// Situation is all that a decision rests on; docs/architecture.md has its place in
// a deployment.
type Situation struct {
	hostapi.Intent
	VM      hostapi.VMState
	New     microvm.StorePath // runner; empty where only the build will tell
	System  microvm.StorePath // inside the new runner; empty: unknown or none
	Running microvm.StorePath // what the guest says it runs, else VM.Running
	// Hardware is what differs from the runner that was booted.
	Hardware []string
	// Inhibitors are what makes NixOS refuse to switch to the new system while
	// Running runs, as `NAME old → new`.
	Inhibitors []string
	// SameAsCurrent: the runner that `current` names is the new one, or differs
	// from it in neither system nor hardware.
	SameAsCurrent bool
	// LiveObstacle says why there can be no live switch; empty if there can.
	LiveObstacle string
	FlakeDiffers bool // `flake` does not hold Intent.UpdateFlake
}

// Decide turns a situation into what to do. It never touches anything.
func Decide(s Situation) (hostapi.Plan, error) {
	p := hostapi.Plan{
		Install:    !s.SameAsCurrent,
		WriteFlake: s.FlakeDiffers,
		Activation: hostapi.ActivateNone,
		Hardware:   s.Hardware,
		Inhibitors: named(s.Inhibitors),
		Runner:     s.New, System: s.System, Previous: s.VM.Current,
	}
	systemChanged := s.System != s.Running || s.VM.Unsure
	if s.System == "" { // a runner that doesn't say what is inside
		systemChanged = s.New == "" || s.New != s.VM.Booted
	}
	p.Changed = p.Install || systemChanged || len(s.Hardware) > 0
	switch s.Action {
	case hostapi.ActionBoot:
		return p, nil
	case hostapi.ActionTest, hostapi.ActionDryActivate:
		p.Install, p.WriteFlake = false, false
		return decideTrial(p, s)
	case hostapi.ActionSwitch:
	default:
		return p, fmt.Errorf("unknown action %q", s.Action)
	}
	if !s.VM.Unit.Up() {
		return decideDown(p, s), nil
	}
	live := s.LiveObstacle == ""
	changed := systemChanged || len(s.Hardware) > 0
	restart := func(why string) (hostapi.Plan, error) {
		p.Activation, p.Reason = hostapi.ActivateRestart, why
		return p, nil
	}
	switch {
	case s.Restart == hostapi.RestartAlways:
		return restart("--restart=always")
	case !changed:
		return p, nil
	case s.Restart == hostapi.RestartIfNeeded && len(s.Hardware) > 0:
		return restart("the hardware differs")
	case s.Restart == hostapi.RestartIfNeeded && len(s.Inhibitors) > 0:
		return restart("NixOS refuses to switch to it: " + strings.Join(p.Inhibitors, ", "))
	case s.Restart == hostapi.RestartNever && !live, live && len(s.Inhibitors) > 0:
		p.Waits = waits(p, systemChanged)
		return p, nil
	case !live:
		return restart(s.LiveObstacle)
	}
	p.Waits = s.Hardware
	if systemChanged {
		p.Activation, p.Reason = hostapi.ActivateLive, "the host's store is shared and sshd runs inside"
		p.NeedTarget = !s.TargetKnown
	}
	return p, nil
}

// decideTrial is for the actions that leave `current` alone: they only exist
// inside a running guest.
func decideTrial(p hostapi.Plan, s Situation) (hostapi.Plan, error) {
	switch {
	case !s.VM.Unit.Up():
		return p, hostapi.Refuse(fmt.Sprintf("%s: the VM is not running", s.Action), "start it first: ferry start NAME")
	case s.LiveObstacle != "":
		return p, hostapi.Refuse(fmt.Sprintf("%s needs a live switch, which this VM can't do: %s", s.Action, s.LiveObstacle), "")
	}
	if s.Action == hostapi.ActionTest && len(s.Inhibitors) > 0 {
		return p, hostapi.Refuse("NixOS refuses to test it while the VM runs: "+strings.Join(p.Inhibitors, ", "),
			"a restart brings it: leave out `test`, with --restart=if-needed").About(trouble.SwitchInhibitors)
	}
	p.Activation, p.Reason = hostapi.ActivateLive, string(s.Action)
	p.Waits = s.Hardware
	p.NeedTarget = !s.TargetKnown
	if s.Action == hostapi.ActionTest && s.System != "" && s.System == s.Running {
		p.Activation = hostapi.ActivateNone
	}
	return p, nil
}

// decideDown is for a VM whose unit is not up.
func decideDown(p hostapi.Plan, s Situation) hostapi.Plan {
	switch {
	case !s.VM.Exists:
		p.Activation, p.Reason = hostapi.ActivateStart, "the VM is new"
	case s.VM.ToStart:
		p.Activation, p.Reason = hostapi.ActivateStart, "the VM was installed but never started, or its start failed"
	case s.Restart == hostapi.RestartAlways:
		p.Activation, p.Reason = hostapi.ActivateStart, "--restart=always"
	case !s.VM.Unit.Stopped():
		p.Activation, p.Reason = hostapi.ActivateRestart, "its unit is "+s.VM.Unit.ActiveState+" ("+s.VM.Unit.SubState+")"
	default:
		p.Stopped = true
	}
	if s.Restart == hostapi.RestartNever && p.Activation != hostapi.ActivateNone {
		p.Activation, p.Reason, p.Stopped = hostapi.ActivateNone, "", true
	}
	return p
}

func waits(p hostapi.Plan, systemChanged bool) []string {
	w := slices.Concat(p.Hardware, p.Inhibitors)
	if systemChanged {
		w = append(w, "the system inside")
	}
	return w
}

// named says of inhibitors that they are some.
func named(inhibitors []string) []string {
	var out []string
	for _, i := range inhibitors {
		out = append(out, "switch inhibitor "+i)
	}
	return out
}

func sortedKeys(ms ...map[string]string) []string {
	all := map[string]bool{}
	for _, m := range ms {
		for k := range m {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
