package deploy

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/deploy/target"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
	"ferry/internal/trouble"
)

// shut is a door that lets nobody in, or nobody who can't be asked.
func shut(kind remote.ConnectKind, says string, onlyBatch bool) func(*world) {
	return func(w *world) {
		w.guest.door = func(o remote.Options) *remote.ConnectError {
			if onlyBatch && !o.Batch {
				return nil
			}
			return &remote.ConnectError{Kind: kind, Stderr: says}
		}
	}
}

func runsStranger(w *world) { w.guest.current = strSys }

// did reports whether the host was asked for something.
func (w *world) did(kind string) bool { return w.count["host "+kind] > 0 }

// What changes nothing is said to be unchanged in the guest's own words; where it
// doesn't answer soon, the host's word is named as such.
func TestUnchangedIsObserved(t *testing.T) {
	stopped := probes(func(f *hostapi.Facts) {
		nothing(f.Plan)
		f.Plan.Predicted, f.Plan.Stopped, f.VM.Unit.ActiveState = false, true, "inactive"
	})
	locked := probes(func(f *hostapi.Facts) { nothing(f.Plan); f.Plan.Predicted = false; theirLock(f) })
	noSSH := func(w *world) { no := false; w.ev.Record.SSH = &no }
	hours := func(w *world) { w.guest.slow = time.Hour }
	for _, c := range []struct {
		name     string
		world    func(*world)
		request  func(*request.Deploy)
		observed result.Observed
		why      string // part of the reason; empty: none is given
		dials    int    // of the guest
		within   time.Duration
	}{
		{"the guest agrees", plans(nothing), nil, result.ObservedGuest, "", 1, time.Second},
		{"it does not answer", all(plans(nothing), guestGone), nil, result.ObservedHost, "cannot be reached", 1, time.Second},
		{"it lets nobody in", all(plans(nothing), shut(remote.AuthFailed, "Permission denied (publickey)", true)), nil, result.ObservedHost, "login refused", 1, time.Second},
		{"its key is not known", all(plans(nothing), shut(remote.UnknownHostKey, "no", true)), nil, result.ObservedHost, "its host key is not known yet", 1, time.Second},
		{"its name is not known", all(plans(nothing), shut(remote.Unreachable, "ssh: Could not resolve hostname web", false)), nil, result.ObservedHost, "Could not resolve", 1, time.Second},
		{"it is slow", all(plans(nothing), hours), nil, result.ObservedHost, "did not answer in time", 1, target.ObserveWait + time.Second},
		{"it runs what is in no store", all(plans(nothing), func(w *world) { w.guest.current = "/run/x" }), nil, result.ObservedHost, "outside the store", 1, time.Second},
		{"the VM is stopped", all(stopped, hours), nil, "", "", 1, time.Second},
		{"somebody else is at work", all(locked, runsStranger), nil, result.ObservedHost, "another deployment is at work", 1, time.Second},
		{"no sshd inside", all(plans(nothing), noSSH, runsStranger), nil, result.ObservedHost, "", 0, time.Second},
		{"--no-guest", all(plans(nothing), runsStranger), func(r *request.Deploy) { r.NoGuest = true }, result.ObservedHost, "", 0, time.Second},
		{"install", all(plans(nothing), runsStranger), func(r *request.Deploy) { r.Action = hostapi.ActionBoot }, "", "", 0, time.Second},
		{"evaluated on the host", plans(nothing), func(r *request.Deploy) { r.Building.EvalOnHost = true }, result.ObservedGuest, "", 1, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			var took time.Duration
			w, r, err := play(t, scenario{c.name, c.world, timed(&took, rebuild(c.request))}, t.TempDir(), fault{})
			if err != nil || r.Outcome != result.OutcomeUnchanged || r.Observed != c.observed {
				t.Fatalf("%+v, %v\n%s", r, err, strings.Join(w.trace, "\n"))
			}
			if (c.why == "") != (r.NotObserved == "") || !strings.Contains(r.NotObserved, c.why) {
				t.Errorf("the reason is %q", r.NotObserved)
			}
			if text := r.Text(); strings.Contains(text, "as far as the host knows ("+r.NotObserved+")") != (c.why != "") {
				t.Errorf("ferry says %q", text)
			}
			if n := w.dials("root@web"); n != c.dials || w.dials("root@host1") != 1 {
				t.Errorf("%d dials of the guest\n%s", n, strings.Join(w.trace, "\n"))
			}
			if took > c.within {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// timed measures a deployment in the time of its world.
func timed(took *time.Duration, run func(context.Context, *Deployer) (*result.Result, error)) func(context.Context, *Deployer) (*result.Result, error) {
	return func(ctx context.Context, d *Deployer) (*result.Result, error) {
		began := time.Now()
		defer func() { *took = time.Since(began) }()
		return run(ctx, d)
	}
}

func (w *world) dials(address string) (n int) {
	for _, line := range w.trace {
		if strings.HasPrefix(line, "dial "+address) {
			n++
		}
	}
	return n
}

// The guest is asked while the host is, and without a question to anybody.
func TestGuestIsAskedBesideTheHost(t *testing.T) {
	w, _, err := play(t, scenario{"", plans(nothing), rebuild(nil)}, t.TempDir(), fault{})
	guest, session := slices.Index(w.trace, "dial root@web batch"), slices.Index(w.trace, "session begins")
	if err != nil || guest < 0 || session < guest {
		t.Errorf("%v\n%s", err, strings.Join(w.trace, "\n"))
	}
}

// A guest that runs something else than the host believes is brought to what is
// wanted, though nothing changes on the host; a dry run says so.
func TestGuestThatRunsSomethingElseIsAChange(t *testing.T) {
	live := func(w *world) {
		plans(nothing, func(p *hostapi.Plan) { p.Install = false })(w)
		w.answers["plan"] = w.answers["plan"][1:]
		runsStranger(w)
	}
	restart := func(w *world) {
		plans(nothing, func(p *hostapi.Plan) { p.Install = false; restarts(p) })(w)
		w.answers["plan"] = w.answers["plan"][1:]
		runsStranger(w)
	}
	later := func(w *world) { // it turns out after the build
		w.answers["plan"] = []any{plan(nothing), plan(func(p *hostapi.Plan) { p.Install = false })}
		w.answers["probe"] = []any{facts(func(f *hostapi.Facts) { only(f.Plan) })}
		runsStranger(w)
	}
	dry := func(r *request.Deploy) { r.DryRun = true }
	rolls := all(rollsBackTo(true), func(w *world) {
		w.answers["plan"] = []any{plan(nothing), plan(func(p *hostapi.Plan) { p.Install = false })}
		runsStranger(w)
	})
	for _, c := range []struct {
		scenario
		outcome    result.Outcome
		activation hostapi.Activation
	}{
		{scenario{"live", live, rebuild(nil)}, result.OutcomeSwitched, hostapi.ActivateLive},
		{scenario{"live, dry run", live, rebuild(dry)}, result.OutcomeDryRun, hostapi.ActivateLive},
		{scenario{"by a restart", restart, rebuild(nil)}, result.OutcomeRestarted, hostapi.ActivateRestart},
		{scenario{"by a restart, dry run", restart, rebuild(dry)}, result.OutcomeDryRun, hostapi.ActivateRestart},
		{scenario{"found after the build", later, rebuild(nil)}, result.OutcomeSwitched, hostapi.ActivateLive},
		{scenario{"evaluated on the host", live, rebuild(func(r *request.Deploy) { r.Building.EvalOnHost = true })}, result.OutcomeSwitched, hostapi.ActivateLive},
		{scenario{"rollback", rolls, goingBack(func(r *request.Rollback) { r.Target, r.To = &web, 3 })}, result.OutcomeSwitched, hostapi.ActivateLive},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, r, err := play(t, c.scenario, t.TempDir(), fault{})
			trace := strings.Join(w.trace, "\n")
			if err != nil || r.Outcome != c.outcome || r.Activation != c.activation {
				t.Fatalf("%+v, %v\n%s", r, err, trace)
			}
			if !strings.Contains(trace, "the guest runs stranger, not what the host last knew of") || !strings.Contains(trace, `"guestSystem":"`+string(strSys)+`"`) {
				t.Errorf("it is not said, or not to the host:\n%s", trace)
			}
			w.mustKeepPromises(t, r, err)
		})
	}
}

// A target that can't be this VM's is refused before anything is touched, however
// the VM is to be activated; what may not answer, since it isn't running or is in
// trouble, is told from that.
func TestWrongTargetIsFoundFirst(t *testing.T) {
	down := func(w *world) {
		newVM(w)
		w.guest.facts = "hostname=db\n" // unless it is shut
	}
	boots := func(w *world) { w.guest.facts = "" }
	up := plans(restarts)
	says := func(facts string) func(*world) { return func(w *world) { w.guest.facts = facts } }
	typo := "ssh: Could not resolve hostname wbe: Name or service not known"
	for name, c := range map[string]struct {
		world   func(*world)
		request func(*request.Deploy)
		refused string // part of the message; empty: it is not refused
		warned  string
	}{
		"down, nobody answers":            {all(down, boots, shut(remote.Unreachable, "Connection refused", false)), nil, "", ""},
		"down, the connection is cut":     {all(down, boots, shut(remote.Dropped, "Connection closed", false)), nil, "", ""},
		"down, very slow":                 {all(down, boots, shut(remote.Unreachable, "timed out", false), func(w *world) { w.guest.slow = 10 * time.Second }), nil, "", ""},
		"down, another machine answers":   {down, nil, `a machine answers at root@web: it calls itself "db"`, ""},
		"down, slowly":                    {all(down, func(w *world) { w.guest.slow = 10 * time.Second }), nil, `a machine answers at root@web: it calls itself "db"`, ""},
		"down, somebody refuses":          {all(down, shut(remote.AuthFailed, "Permission denied (publickey)", false)), nil, "a machine answers at root@web: ssh to root@web: login refused", ""},
		"down, an unknown key":            {all(down, shut(remote.UnknownHostKey, "no", false)), nil, "a machine answers at root@web", ""},
		"down, another key":               {all(down, shut(remote.ChangedHostKey, "no", false)), nil, "its host key is not the known one", ""},
		"down, no such name":              {all(down, shut(remote.Unreachable, typo, false)), nil, "the name of the target cannot be resolved", ""},
		"down, ssh is set up wrongly":     {all(down, shut(remote.BadConfig, "no", false)), nil, "ssh refuses its configuration", ""},
		"down, answers, --no-guest":       {down, func(r *request.Deploy) { r.NoGuest = true }, "", ""},
		"down, answers, dry run":          {down, func(r *request.Deploy) { r.DryRun = true }, `a machine answers at root@web`, ""},
		"down, answers, evaluated there":  {down, func(r *request.Deploy) { r.Building.EvalOnHost = true }, `a machine answers at root@web`, ""},
		"failed, another machine answers": {all(up, probes(func(f *hostapi.Facts) { restarts(f.Plan); f.VM.Unit.ActiveState = "failed" })), nil, "does not run on root@host1, but a machine answers", ""},
		"on its way":                      {all(up, probes(func(f *hostapi.Facts) { restarts(f.Plan); f.VM.Unit.ActiveState = "activating" })), nil, "", ""},

		"up":                               {up, nil, "", ""},
		"up, another machine":              {all(up, says("hostname=db\ncurrent="+string(strSys)+"\n")), nil, `calls itself "db", but web is configured as "web"`, ""},
		"up, another machine, dry run":     {all(up, says("hostname=db\ncurrent="+string(strSys)+"\n")), func(r *request.Deploy) { r.DryRun = true }, `calls itself "db"`, ""},
		"up, renamed":                      {all(up, says("hostname=former\n")), nil, "", ""},
		"up, switched by hand":             {all(up, runsStranger), nil, "", ""},
		"up, its namesake on another host": {all(up, runsStranger, says("store=no\n")), nil, "does not see the /nix/store of root@host1", ""},
		"up, booted without the store":     {all(up, says("store=no\n")), nil, "", ""},
		"up, no such name":                 {all(up, shut(remote.Unreachable, typo, false)), nil, "the name of the target cannot be resolved", ""},
		"up, another key":                  {all(up, shut(remote.ChangedHostKey, "no", false)), nil, "its host key is not the known one", ""},
		"up, an unknown key":               {all(up, shut(remote.UnknownHostKey, "no", false)), nil, "its host key is not known yet", ""},
		"up, a key that one accepts":       {all(up, shut(remote.UnknownHostKey, "no", true)), nil, "", ""},
		"up, out of reach":                 {all(up, shut(remote.Unreachable, "Connection refused", false)), nil, "", "the restart is undone unless it does afterwards"},
		"up, out of reach, never undone":   {all(up, shut(remote.Unreachable, "Connection refused", false)), func(r *request.Deploy) { r.Confirm.NoRollback = true }, "", "counts as failed unless"},
		"up, login refused":                {all(up, shut(remote.AuthFailed, "Permission denied (publickey)", false)), nil, "", "login refused"},
		"up, with a password":              {all(up, shut(remote.AuthFailed, "Permission denied (publickey,password)", true)), nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, r, err := play(t, scenario{name, c.world, rebuild(c.request)}, t.TempDir(), fault{})
			trace := strings.Join(w.trace, "\n")
			w.mustKeepPromises(t, r, err)
			if c.refused == "" {
				if err != nil || !w.did("commit") {
					t.Fatalf("%v\n%s", err, trace)
				}
			} else {
				if err == nil || !strings.Contains(err.Error(), c.refused) || w.did("commit") || w.did("activate") || r.Outcome != result.OutcomeFailed {
					t.Fatalf("%v\n%s", err, trace)
				}
				late := w.guest.slow > 0 || c.request != nil && strings.Contains(name, "there")
				if w.did("prepare") && !late {
					t.Errorf("it was found after the host had begun:\n%s", trace)
				}
			}
			if warned := strings.Contains(trace, "its guest does not let anybody in now"); warned != (c.warned != "") || !strings.Contains(trace, c.warned) {
				t.Errorf("warned: %t\n%s", warned, trace)
			}
		})
	}
}

// The policies that restart a guest which can't be reached find a wrong target, too.
func TestUpdateToAWrongTarget(t *testing.T) {
	typo := shut(remote.Unreachable, "ssh: Could not resolve hostname wbe", false)
	named := func(r *request.Update) { r.Target = &web }
	for name, s := range map[string]scenario{
		"update":   {"", all(plans(nil, restarts), typo), updates(named)},
		"rollback": {"", all(rollsBackTo(false), plans(nil, restarts), typo), goingBack(func(r *request.Rollback) { r.Target = &web })},
	} {
		w, r, err := play(t, s, t.TempDir(), fault{})
		if err == nil || !strings.Contains(err.Error(), "cannot be resolved") || w.did("commit") || w.did("prepare") {
			t.Errorf("%s: %+v, %v\n%s", name, r, err, strings.Join(w.trace, "\n"))
		}
	}
}

// A guest whose unit was started a moment ago is waited for; one that had its time
// is not.
func TestBootingGuestIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		age   time.Duration // of the unit
		boots time.Duration // from now on
		says  string        // of ssh meanwhile
		kind  remote.ConnectKind
		err   string
	}{
		{"it boots", 5 * time.Second, 20 * time.Second, "Connection reset by peer", remote.Dropped, ""},
		{"its network is not up", 5 * time.Second, 20 * time.Second, "No route to host", remote.Unreachable, ""},
		{"never", 5 * time.Second, time.Hour, "Connection refused", remote.Unreachable, "Connection refused"},
		{"it runs for long", time.Hour, 20 * time.Second, "Connection refused", remote.Unreachable, "Connection refused"},
		{"a wrong name", 5 * time.Second, 20 * time.Second, "Could not resolve hostname wbe", remote.Unreachable, "Could not resolve"},
		{"login refused", 5 * time.Second, 20 * time.Second, "Permission denied (publickey)", remote.AuthFailed, "login refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, scenario{}, t.TempDir(), fault{})
				began := time.Now()
				w.answers["probe"] = []any{facts(func(f *hostapi.Facts) {
					f.Now = began.Add(-90 * time.Minute) // the clocks may differ
					f.VM.Unit.Since = f.Now.Add(-c.age)
				})}
				w.guest.door = func(remote.Options) *remote.ConnectError {
					if time.Since(began) < c.boots {
						return &remote.ConnectError{Kind: c.kind, Stderr: c.says}
					}
					return nil
				}
				r, err := rebuild(nil)(t.Context(), w.deployer())
				trace := strings.Join(w.trace, "\n")
				if c.err == "" && (err != nil || r.Outcome != result.OutcomeSwitched || !strings.Contains(trace, "waiting for root@web to boot: its unit was started 5s ago")) {
					t.Errorf("%v\n%s", err, trace)
				}
				if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || w.did("prepare")) {
					t.Errorf("%v\n%s", err, trace)
				}
				if limit := 4 * time.Minute; time.Since(began) > limit {
					t.Errorf("it took %s", time.Since(began))
				}
			})
		})
	}
}

// A restart that the host does not confirm in the end, since `current` is another
// runner by then or it has not heard of it, is not said to be a restart.
func TestRestartThatTheHostDoesNotConfirm(t *testing.T) {
	for name, c := range map[string]struct {
		failure *hostapi.Failure
		state   string
		outcome result.Outcome
	}{
		"superseded": {&hostapi.Failure{Kind: hostapi.KindFailed, Message: "`current` is another runner", State: "superseded by microvm -u"}, "superseded by microvm -u", result.OutcomeFailed},
		"undone":     {&hostapi.Failure{Kind: hostapi.KindUnit, Message: "it is down", State: "the previous runner runs", RolledBack: true}, "the previous runner runs", result.OutcomeRolledBack},
		"no state":   {&hostapi.Failure{Kind: hostapi.KindFailed, Message: "no space left"}, "the VM was found well, but the host has not taken that down", result.OutcomeFailed},
	} {
		w, r, err := play(t, scenario{"", all(plans(restarts), func(w *world) { w.answers["finish"] = []any{c.failure} }), rebuild(nil)}, t.TempDir(), fault{})
		if err == nil || r.Outcome != c.outcome || !strings.HasPrefix(r.State, c.state) || r.Error != c.failure.Message {
			t.Errorf("%s: %+v, %v\n%s", name, r, err, strings.Join(w.trace, "\n"))
		}
	}
}

// A result names the section of docs/troubleshooting.md that the host's failure has.
func TestResultSaysWhichSectionExplainsIt(t *testing.T) {
	for want, failure := range map[trouble.Section]*hostapi.Failure{
		trouble.UnitDown:     {Kind: hostapi.KindUnit, Message: "it is down", State: "x", See: trouble.UnitDown, RolledBack: true},
		trouble.NotConfirmed: {Kind: hostapi.KindFailed, Message: "it is not well", State: "x", RolledBack: true},
		"":                   {Kind: hostapi.KindFailed, Message: "something else", State: "x"},
	} {
		_, r, err := play(t, scenario{"", all(plans(restarts), func(w *world) { w.answers["commit"] = []any{failure} }), rebuild(nil)}, t.TempDir(), fault{})
		if err == nil || r.See != want {
			t.Errorf("%q, wanted %q: %v", r.See, want, err)
		}
	}
}

// One goes back because a guest can't be reached: it is not waited for then.
func TestRollbackDoesNotWaitForABoot(t *testing.T) {
	young := func(w *world) {
		w.answers["probe"] = []any{facts(func(f *hostapi.Facts) {
			f.Now = time.Unix(100, 0)
			f.VM.Unit.Since = f.Now.Add(-time.Second)
		})}
	}
	var took time.Duration
	run := timed(&took, goingBack(nil))
	w, r, err := play(t, scenario{"", all(rollsBackTo(false), plans(nil, restarts), young, shut(remote.Unreachable, "Connection refused", false)), run}, t.TempDir(), fault{})
	if err != nil || r.Outcome != result.OutcomeRestarted || took > 30*time.Second {
		t.Errorf("%+v, %v after %s\n%s", r, err, took, strings.Join(w.trace, "\n"))
	}
}
