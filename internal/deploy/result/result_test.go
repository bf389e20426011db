package result

import (
	"strings"
	"testing"
)

// A builder may have "local" in its name.
func TestDryRunNamesTheBuilder(t *testing.T) {
	for on, want := range map[string]string{
		"":                       "web: would copy the derivations and build on root@server\n",
		"local":                  "web: would build on this machine and copy it to root@server\n",
		"ssh-ng://builder.local": "web: would build on ssh-ng://builder.local and copy it to root@server\n",
	} {
		r := Result{VM: "web", Host: "root@server", BuildOn: on, Outcome: OutcomeDryRun, Predicted: true}
		if got := r.Text(); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q", on, got)
		}
	}
}

// What was done is said in one line, and below it what there is to know.
func TestResultText(t *testing.T) {
	r := func(o Outcome, change func(*Result)) Result {
		r := Result{VM: "web", Host: "root@h", Target: "root@t", Outcome: o}
		if change != nil {
			change(&r)
		}
		return r
	}
	for want, r := range map[string]Result{
		"web: unchanged on root@h\n":                                                         r(OutcomeUnchanged, func(r *Result) { r.Rollback = true }),
		"web: unchanged on root@h; the VM stays stopped (ferry start web)\n":                 r(OutcomeUnchanged, func(r *Result) { r.Stopped = true }),
		"web: installed on root@h as generation 3; what runs was not touched\n":              r(OutcomeInstalled, func(r *Result) { r.Generation = 3 }),
		"web: installed on root@h as generation 3; the VM stays stopped (ferry start web)\n": r(OutcomeInstalled, func(r *Result) { r.Generation, r.Stopped = 3, true }),
		"web: switched live on root@h (generation 3)\n  a: 1 → 2\n  boot id b\n":             r(OutcomeSwitched, func(r *Result) { r.Generation, r.Changes, r.BootID = 3, []string{"a: 1 → 2"}, "b" }),
		"web: switched live in root@t\n  configuration only: no package changed\n":           r(OutcomeSwitched, func(r *Result) { r.Host, r.ConfigurationOnly = "", true }),
		"web: restarted on root@h: memory changed\n  memory: 1 → 2\n":                        r(OutcomeRestarted, func(r *Result) { r.Reason, r.Hardware = "memory changed", []string{"memory: 1 → 2"} }),
		"web: rolled back; started on root@h\n":                                              r(OutcomeStarted, func(r *Result) { r.Rollback = true }),
		"web: tested live in root@t; the next boot brings the installed system back\n":       r(OutcomeTested, nil),
		"web: dry-activated in root@t; nothing was changed\n":                                r(OutcomeDryActivated, nil),
		"web: skipped: another flake\n":                                                      r(OutcomeSkipped, func(r *Result) { r.Reason = "another flake" }),
		"web: failed\n":                                                                      r(OutcomeFailed, nil),
		"web: would change nothing\n":                                                        r(OutcomeDryRun, nil),
		"web: would install, switch live in root@t\n":                                        r(OutcomeDryRun, func(r *Result) { r.Install, r.Activation = true, "live" }),
		"web: would restart it (x)\n":                                                        r(OutcomeDryRun, func(r *Result) { r.Reason, r.Activation = "x", "restart" }),
		"web: would download /r, install, start it (x)\n": r(OutcomeDryRun, func(r *Result) {
			r.Predicted, r.Build, r.Runner, r.Install, r.Reason, r.Activation = true, "b", "/r", true, "x", "start"
		}),
		"web: switched live on root@h\n  a waits for a restart\n  (ferry restart web applies it)\n":                     r(OutcomeSwitched, func(r *Result) { r.Update, r.Waits = true, []string{"a"} }),
		"web: switched live on root@h\n  a waits for a restart\n  (ferry rebuild web --restart=if-needed applies it)\n": r(OutcomeSwitched, func(r *Result) { r.Waits = []string{"a"} }),
	} {
		if got := r.Text(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
