//go:build lab

package main

import (
	"slices"
	"strings"

	"ferry/internal/guest"
	"ferry/internal/host/step"
)

// allTrials are every step that the code lists with every fault that a step is
// tried with, and the faults that have a name of their own.
func allTrials() []trial {
	var all []trial
	for _, st := range step.All() {
		for _, f := range []fault{helperKilled, hostKilled, connectionCut} {
			all = append(all, trial{
				way: wayTo(st), step: string(st), where: onHost, fault: f, once: st == step.Reboot,
				unnoted: noteless(st),
			})
		}
	}
	for _, step := range guest.Steps() {
		for _, f := range []fault{scriptKilled, guestKilled, hostKilled, connectionCut} {
			all = append(all, trial{way: wayInto(step), step: string(step), where: inGuest, fault: f})
		}
	}
	return slices.Concat(all, namedTrials(), qemuTrials())
}

// wayTo is a deployment that reaches a step. One that is not named here is tried
// with a restart; if that does not reach it either, this is a violation, so that
// a new step is not forgotten.
func wayTo(s step.Step) *way {
	switch {
	case slices.Contains([]step.Step{step.Activate, step.Running}, s):
		return &switched
	case s == step.Reboot:
		return &vanished
	case s == step.Await:
		return &answered
	case slices.Contains([]step.Step{step.Undo, step.UndoLink, step.UndoGen, step.UndoRest, step.UndoUnit}, s):
		return &undone
	}
	return &restarted
}

// wayInto is a deployment that reaches a step in the guest.
func wayInto(s guest.Step) *way {
	if strings.HasPrefix(string(s), string(guest.StepUndo)) {
		return &takenBack
	}
	return &switched
}

// noteless: before this step the host knows nothing of the deployment.
func noteless(s step.Step) bool { return s == step.Lock || s == step.Note }
