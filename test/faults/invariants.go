//go:build lab

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
)

// examine checks what must hold after every fault: first how things are, then
// that the next run converges.
func (a *attempt) examine(ctx context.Context) (err error) {
	if a.after, err = a.look(ctx); err != nil {
		return err
	}
	rebooted := a.after.invocation != a.before.invocation
	fromA := a.after.differences(a.before, rebooted)
	if len(fromA) == 0 {
		a.end = "A"
	}
	if a.foreign != "" {
		a.examineForeign()
	}
	if a.after.active != "active" {
		a.violation("the VM is %s", a.after.active)
	}
	for _, b := range a.after.broken {
		if !slices.Contains(a.before.broken, b) {
			a.violation("%s", b)
		}
	}
	for _, u := range slices.Concat(a.after.units, a.after.guestUnits) {
		a.violation("%s is left", u)
	}
	if err := a.converge(ctx); err != nil {
		return err
	}
	if a.end == "?" && a.way.bad == nil {
		fromB := a.after.differences(a.last, a.last.invocation != a.after.invocation || rebooted)
		if len(fromB) == 0 {
			a.end = "B"
		} else {
			a.violation("neither A (%s) nor B (%s)", strings.Join(fromA, "; "), strings.Join(fromB, "; "))
		}
	} else if a.end == "?" {
		a.violation("not A: %s", strings.Join(fromA, "; "))
	}
	if a.t.ends != "" && a.end != a.t.ends {
		a.violation("it ended in %s instead of %s", a.end, a.t.ends)
	}
	a.checkMessage()
	a.checkHistory()
	return nil
}

// converge runs the same command again: B is deployed, or undone where it can't
// come up, and then there is nothing left to do.
func (a *attempt) converge(ctx context.Context) (err error) {
	if err := a.sameAgain(ctx); err != nil {
		return err
	}
	if a.last, err = a.look(ctx); err != nil {
		return err
	}
	if a.way.bad != nil {
		if !a.t.once && a.again.code != exitRolledBack {
			a.violation("the same again ended with exit code %d", a.again.code)
		}
		for _, d := range a.last.differences(a.before, a.last.invocation != a.before.invocation) {
			a.violation("after the same again: %s", d)
		}
		if err := a.revise(ctx, func(name string, rev int) string { return a.way.module(name, rev-1) }); err != nil {
			return err
		}
		a.rev-- // what is deployed and what `flake` says
	} else {
		a.checkDeployed()
	}
	for _, left := range slices.Concat(a.last.left, a.last.units, a.last.guestUnits, a.last.broken) {
		a.violation("after the next run: %s", left)
	}
	if a.last.torn > a.before.torn {
		a.violation("the history has a line that can't be read")
	}
	a.once = a.ferry(ctx, a.plainArgs()...)
	if a.end == foreign && a.way.bad != nil {
		return nil // what is deployed once more is A, in the place of what isn't ours
	}
	if a.once.code != 0 || a.once.result.Outcome != result.OutcomeUnchanged {
		a.violation("once more: exit code %d, %s", a.once.code, a.once.result.Outcome)
	}
	return nil
}

func (a *attempt) sameAgain(ctx context.Context) error {
	if a.t.once {
		a.again = &ran{}
		return nil
	}
	agree := a.follow(ctx)
	a.again = a.ferry(ctx, a.args()...)
	return errors.Join(agree(), a.settled(ctx))
}

// checkDeployed checks that the next run has brought B, wholly.
func (a *attempt) checkDeployed() {
	st, res := a.last, a.again.result
	if a.again.code != 0 {
		a.violation("the same again ended with exit code %d", a.again.code)
		return
	}
	want := *a.before
	want.old, want.flake = a.before.current, a.flakeRef()
	want.current, want.generation, want.generations, want.links = st.current, st.generation, st.generations, st.links
	want.system, want.profile = string(res.System), st.profile
	if a.way.target == "" {
		want.system = ""
	}
	want.running, want.booted = st.running, st.booted
	for _, d := range st.differences(&want, a.way.machine == process) {
		a.violation("after the next run: %s", d)
	}
	if res.Runner != "" && st.current != string(res.Runner) {
		a.violation("after the next run: current is %s instead of %s", st.current, res.Runner)
	}
	if st.current == a.before.current {
		a.violation("the next run has not deployed B")
	}
	added := slices.DeleteFunc(slices.Clone(st.generations), func(g string) bool { return slices.Contains(a.before.generations, g) })
	if a.end == foreign && slices.Contains(st.generations, st.generation+" "+st.current) {
		return // it is there already: what was superseded stays in the list
	}
	if len(added) != 1 || added[0] != st.generation+" "+st.current || len(st.generations) != len(a.before.generations)+1 {
		a.violation("the next run has added the generations %v; the current one is %s", added, st.generation)
	}
}

const (
	exitFailed      = 1
	exitRolledBack  = 4
	exitInterrupted = 130
)

// checkMessage checks that ferry has ended in time and told the truth.
func (a *attempt) checkMessage() {
	r := a.ran
	said := r.stderr + r.stdout
	switch {
	case r.hung:
		a.violation("ferry did not end within %s", tooLong)
	case a.t.fault.killsFerry:
	case r.code == 0 && a.end != "B":
		a.violation("exit code 0, but it ended in %s", a.end)
	case r.code == exitRolledBack && a.end != "A":
		a.violation("exit code %d, but it ended in %s", r.code, a.end)
	case r.code == exitFailed && r.result.State == "":
		a.violation("ferry did not say how things are")
	case r.code == exitFailed && strings.Contains(r.result.State, "nothing was changed") && a.end != "A":
		a.violation("ferry said that nothing was changed, but it ended in %s", a.end)
	case r.code == exitInterrupted && a.t.fault.interrupts:
		if r.result.State == "" {
			a.violation("ferry did not say how things are")
		}
	case r.code != 0 && r.code != exitRolledBack && r.code != exitFailed:
		a.violation("exit code %d", r.code)
	}
	if (r.code == 0 || r.code == exitRolledBack) && !r.hung && len(a.after.left) > 0 {
		a.violation("ferry had ended its work, but left %s", strings.Join(a.after.left, ", "))
	}
	if a.t.says != "" && !strings.Contains(strings.ToLower(said), a.t.says) {
		a.violation("ferry did not say %q", a.t.says)
	}
}

// checkHistory checks that the disturbed deployment is in the history, once, with
// an outcome that is true.
func (a *attempt) checkHistory() {
	entries := slices.DeleteFunc(a.last.entries(a.before), func(e hostapi.HistoryEntry) bool {
		return e.ID == a.again.result.Deployment || (a.t.down && e.Action == "stop")
	})
	if len(entries) == 0 {
		if !a.t.unnoted {
			a.violation("the history does not have the deployment")
		}
		return
	}
	if len(entries) > 1 {
		var outcomes []string
		for _, e := range entries {
			outcomes = append(outcomes, fmt.Sprintf("%s %s", e.ID, e.Outcome))
		}
		a.violation("the history has it more than once: %s", strings.Join(outcomes, ", "))
	}
	last := result.Outcome(entries[len(entries)-1].Outcome)
	switch last {
	case "interrupted", result.OutcomeFailed:
	case result.OutcomeRolledBack:
		if a.end != "A" {
			a.violation("the history says %s, but it ended in %s", last, a.end)
		}
	default:
		if a.end != "B" {
			a.violation("the history says %s, but it ended in %s", last, a.end)
		}
	}
}
