package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
)

// play runs a scenario with a fault, in a time of its own.
func play(t *testing.T, s scenario, nixDir string, f fault) (w *world, r *result.Result, err error) {
	t.Helper()
	if word, ok := strings.CutPrefix(f.at, "nix "); ok {
		if err := os.WriteFile(filepath.Join(nixDir, "fault"), []byte(word), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, s, nixDir, f)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.cancel = cancel
		r, err = s.run(ctx, w.deployer())
	})
	return w, r, err
}

// faults are what can go wrong where something is done.
func faults(p point) []fault {
	ways := []string{"fails", "cancelled", "lost", "lost after"}
	switch {
	case strings.HasPrefix(p.at, "guest "):
		ways = append(ways, "gone")
	case p.at == "host commit", p.at == "host undo":
		ways = append(ways, "fails, dealt with")
	}
	var all []fault
	for _, how := range ways {
		all = append(all, fault{at: p.at, n: p.n, how: how})
	}
	return all
}

// often is how often the same is broken where a deployment does it again and
// again.
const often = 2

// Whatever fails, is cancelled or loses its connection, in any step: the user is
// told how things are, `current` is moved for nothing that was not confirmed, what
// was begun is undone, the host is told, and nothing stays open.
func TestEveryStepFailsWell(t *testing.T) {
	broken := map[string]map[string]int{} // by step, by the way
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			w, r, err := play(t, s, dir, fault{})
			w.mustKeepPromises(t, r, err)
			for _, p := range w.points {
				if p.n > often {
					continue
				}
				for _, f := range faults(p) {
					if broken[p.step] == nil {
						broken[p.step] = map[string]int{}
					}
					broken[p.step][f.how]++
					w, r, err := play(t, s, dir, f)
					w.mustKeepPromises(t, r, err)
				}
			}
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			for _, word := range []string{"copy", "build", "info", "--requisites", "--export"} {
				if strings.Contains(string(log), word) {
					w, r, err := play(t, s, dir, fault{at: "nix " + word, n: 1, how: "fails"})
					w.mustKeepPromises(t, r, err)
				}
			}
		})
	}
	for _, s := range slices.Concat(steps, attachSteps) {
		for _, how := range []string{"fails", "cancelled", "lost"} {
			if broken[s.name][how] == 0 {
				t.Errorf("no scenario has a step %q that is broken so: %s", s.name, how)
			}
		}
	}
}

// mustKeepPromises fails the test where a deployment that went so breaks one.
func (w *world) mustKeepPromises(t *testing.T, r *result.Result, err error) {
	t.Helper()
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%+v: %s\n%v\n%s", w.fault, fmt.Sprintf(format, args...), err, strings.Join(w.trace, "\n"))
	}
	if w.conns != 0 || w.sessions != 0 {
		bad("%d connections and %d sessions are open", w.conns, w.sessions)
	}
	if w.early {
		bad("`current` was moved for a guest that was not confirmed")
	}
	if err == nil {
		if r.Error != "" || r.Outcome == "" || r.Outcome == result.OutcomeFailed || r.Outcome == result.OutcomeRolledBack {
			bad("no error, but %+v", r)
		}
		if w.unfinished {
			bad("the host was not told that it went well")
		}
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		bad("the error is a %T", err)
		return
	}
	if r.State == "" || r.State != e.State || r.Error == "" {
		bad("how things are is not said: %+v", r)
	}
	if e.RolledBack != (r.Outcome == result.OutcomeRolledBack) || !e.RolledBack && r.Outcome != result.OutcomeFailed {
		bad("rolled back %t, outcome %s", e.RolledBack, r.Outcome)
	}
	last := w.fault.at == "host finish"
	if w.fault.how == "cancelled" && !last && !errors.Is(err, context.Canceled) {
		bad("it is not said that it was interrupted")
	}
	if w.fault.how == "fails" && !last && w.unfinished {
		bad("the host was not told that it failed")
	}
	w.mustHaveUndone(bad, e)
}

// mustHaveUndone: what was begun and not confirmed is undone, or its undo was
// asked for.
func (w *world) mustHaveUndone(bad func(string, ...any), e *Error) {
	var c hostapi.Confirmation
	if n := len(w.commits); n > 0 {
		c = w.commits[n-1].Confirm
	}
	never := c.NoRollback || w.neverUndone
	g := w.guest
	if e.RolledBack && !g.gone && g.switched && g.confirmed {
		bad("it is said to be rolled back, but the guest was confirmed")
	}
	if w.reboots > 0 && e.RolledBack && g.current != oldSys && g.current != strSys {
		bad("it is said to be rolled back after a restart, but the guest runs %s", g.current)
	}
	begun := w.count["guest switch"] > 0
	if begun && g.switched && !g.confirmed && !never && !g.gone && w.count["guest undo"] == 0 {
		bad("the guest was not told to go back")
	}
	theirs := w.count["host commit"] == 0 && w.count["host resume"] == 0 // another process's, and not taken over
	if w.phase == "awaiting" && !never && !theirs && w.fault.at != "host finish" && w.count["host undo"] == 0 && !strings.Contains(e.State, "by itself") {
		bad("the host was not told to undo it")
	}
}

// Ctrl-C in the very last moment does not keep the host from hearing that the VM was
// found well: it would undo what the user then reads is done.
func TestLastWordIsSaidAfterCtrlC(t *testing.T) {
	for _, name := range []string{"live", "restart", "start"} {
		i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == name })
		w, r, err := play(t, scenarios()[i], t.TempDir(), fault{at: "host finish", n: 1, how: "cancelled"})
		if err != nil || w.unfinished || r.Outcome == result.OutcomeFailed {
			t.Errorf("%s: %v, unfinished %t, %s", name, err, w.unfinished, r.Outcome)
		}
	}
}

// The order of a deployment: its steps, its connections and what it asks.
func TestOrderOfADeployment(t *testing.T) {
	const (
		begins = "evaluate dial:root@host1 "
		asks   = "dial:root@web ask "
		looks  = "dial:root@web look "
		built  = "prepare build plan "
		live   = "token activate switch follow:switch dial:root@web confirm commit finish"
	)
	for name, want := range map[string]string{
		"unchanged":                        begins + "probe dial:root@web ask",
		"live":                             begins + "probe " + asks + "look " + built + live,
		"live with checks":                 begins + "probe " + asks + "look " + built + "token activate switch follow:switch check dial:root@web confirm commit finish",
		"live, guest does not confirm":     begins + "probe " + asks + "look " + built + "token activate switch follow:switch check dial:root@web confirm undo follow:undo dial:root@web look observe finish",
		"test":                             begins + "probe " + asks + "look " + built + "token activate switch follow:switch dial:root@web confirm observe finish",
		"dry-activate":                     begins + "probe " + asks + "look " + built + "token switch follow:switch finish",
		"restart":                          begins + "probe " + asks + built + "look commit dial:root@web confirm finish",
		"restart, guest does not confirm":  begins + "probe " + asks + built + "look commit dial:root@web confirm undo",
		"start":                            begins + "probe " + built + "commit finish",
		"install":                          begins + "probe " + built + "commit finish",
		"waits for the lock":               begins + "probe prepare probe build plan " + asks + "look " + live,
		"evaluated on the host":            "archive dial:root@host1 prepare evaluate probe " + asks + "look " + "build plan " + live,
		"switch":                           begins + "probe " + looks + "prepare plan " + live,
		"switch without a host":            "evaluate dial:root@web look switch follow:switch dial:root@web confirm",
		"rollback":                         "dial:root@host1 probe rollback plan " + looks + "plan prepare plan " + live,
		"rollback of a guest out of reach": "dial:root@host1 probe rollback plan dial:root@web plan prepare plan",
		"update":                           "dial:root@host1 probe prepare fetch plan " + looks + "plan " + live,
		"attach, live":                     "dial:root@host1 underway resume dial:root@web look follow:switch dial:root@web confirm commit finish",
		"attach, restart":                  "dial:root@host1 underway resume dial:root@web confirm finish",
	} {
		i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == name })
		w, _, _ := play(t, scenarios()[i], t.TempDir(), fault{})
		var got []string
		for _, p := range w.points {
			kind, word, _ := strings.Cut(p.at, " ")
			switch kind {
			case "dial":
				word = "dial:" + word
			case "evaluate", "archive":
				word = kind
			}
			got = append(got, strings.ReplaceAll(word, " ", ":"))
		}
		if all := strings.Join(got, " "); !strings.HasPrefix(all, want) || name != "rollback of a guest out of reach" && all != want {
			t.Errorf("%s:\n got %s\nwant %s", name, all, want)
		}
	}
}
