package deploy

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/flake"
	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/update"
)

const (
	leftID  = "20261122T024710-12b4f3"
	newRun  = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner")
	newDrv  = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner.drv")
	newSys  = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system")
	oldRun  = microvm.StorePath("/nix/store/dddddddddddddddddddddddddddddddd-oldrunner")
	oldSys  = microvm.StorePath("/nix/store/cccccccccccccccccccccccccccccccc-before")
	regInfo = "/nix/store/rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr-info/registration"
	strSys  = microvm.StorePath("/nix/store/ffffffffffffffffffffffffffffffff-stranger")
)

// scenario is a deployment in a world.
type scenario struct {
	name string
	// world changes the one where web runs the old runner on host1 and the flake
	// yields a new one, to be switched to live.
	world func(*world)
	run   func(context.Context, *Deployer) (*result.Result, error)
}

func rebuild(change func(*request.Deploy)) func(context.Context, *Deployer) (*result.Result, error) {
	return func(ctx context.Context, d *Deployer) (*result.Result, error) {
		r := request.Deploy{Attribute: "web", Action: hostapi.ActionSwitch}
		if change != nil {
			change(&r)
		}
		return d.Rebuild(ctx, r)
	}
}

func switching(change func(*request.Deploy)) func(context.Context, *Deployer) (*result.Result, error) {
	return func(ctx context.Context, d *Deployer) (*result.Result, error) {
		r := request.Deploy{Attribute: "web", Action: hostapi.ActionSwitch}
		if change != nil {
			change(&r)
		}
		return d.Switch(ctx, r)
	}
}

func goingBack(change func(*request.Rollback)) func(context.Context, *Deployer) (*result.Result, error) {
	return func(ctx context.Context, d *Deployer) (*result.Result, error) {
		r := request.Rollback{Name: "web", Host: host1}
		if change != nil {
			change(&r)
		}
		return d.Rollback(ctx, r)
	}
}

func updates(change func(*request.Update)) func(context.Context, *Deployer) (*result.Result, error) {
	return func(ctx context.Context, d *Deployer) (*result.Result, error) {
		r := request.Update{Name: "web", Host: host1, Source: source{}}
		if change != nil {
			change(&r)
		}
		return d.Update(ctx, r)
	}
}

// source has a build of web.
type source struct{ of, err string }

func (s source) Latest(context.Context, microvm.Name) (update.Found, error) {
	if s.err != "" {
		return update.Found{}, update.ErrNoBuild
	}
	return update.Found{Runner: newRun, Build: "https://user:pw@hydra/build/1", Flake: s.of}, nil
}
func (s source) String() string { return "hydra" }

var (
	host1 = microvm.Address{User: "root", Host: "host1"}
	web   = microvm.Address{User: "root", Host: "web"}
)

func yes() *bool { b := true; return &b }

func facts(change func(*hostapi.Facts)) hostapi.Facts {
	p := plan(nil)
	p.Predicted = true
	f := hostapi.Facts{Protocol: hostapi.ProtocolVersion, VM: hostapi.VMState{
		Exists: true, Current: oldRun, Booted: oldRun, Running: oldSys, Flake: "git+https://flake", Unit: hostapi.UnitState{ActiveState: "active"},
	}, Plan: &p, Target: "root@web"}
	if change != nil {
		change(&f)
	}
	return f
}

func plan(change func(*hostapi.Plan)) hostapi.Plan {
	p := hostapi.Plan{
		Install: true, Activation: hostapi.ActivateLive, Runner: newRun, System: newSys, HostName: "web",
		RegInfo: regInfo, Previous: oldRun, Closure: []string{"a: 1 → 2"}, Changed: true,
	}
	if change != nil {
		change(&p)
	}
	return p
}

func restarts(p *hostapi.Plan) {
	p.Activation, p.Reason, p.Hardware = hostapi.ActivateRestart, "memory changed", []string{"memory: 1 → 2"}
}

func starts(p *hostapi.Plan) {
	p.Activation, p.Reason, p.Previous = hostapi.ActivateStart, "it is new", ""
}

func nothing(p *hostapi.Plan) {
	p.Install, p.Activation, p.Changed = false, hostapi.ActivateNone, false
}

func noRegInfo(p *hostapi.Plan) { p.RegInfo = "" }

func only(p *hostapi.Plan) { p.Activation = hostapi.ActivateNone }

// plans makes the host plan so, before and after the build.
func plans(changes ...func(*hostapi.Plan)) func(*world) {
	return func(w *world) {
		w.answers["probe"], w.answers["plan"] = nil, nil
		for _, c := range changes {
			p := plan(c)
			w.answers["plan"] = append(w.answers["plan"], p)
			p.Predicted = c == nil || p.Install
			w.answers["probe"] = append(w.answers["probe"], facts(func(f *hostapi.Facts) { f.Plan = &p }))
		}
	}
}

func all(changes ...func(*world)) func(*world) {
	return func(w *world) {
		for _, c := range changes {
			c(w)
		}
	}
}

func probes(change func(*hostapi.Facts)) func(*world) {
	return func(w *world) { w.answers["probe"] = []any{facts(change)} }
}

func theirLock(f *hostapi.Facts) {
	f.Lock = &hostapi.Lock{By: "you@there", Deployment: "ID", Since: time.Unix(0, 0).UTC()}
}

func waited(w *world) {
	w.answers["probe"] = []any{facts(theirLock), facts(nil)}
	w.answers["prepare"] = []any{hostapi.Prepared{NixVersion: "2.30", Waited: true}}
}

func rollsBackTo(current bool) func(*world) {
	return func(w *world) {
		w.answers["rollback"] = []any{hostapi.RollbackTarget{
			Generation: hostapi.Generation{Number: 3, Runner: newRun, System: newSys, Current: current}, HostName: "web", Target: "root@web",
			Record: &microvm.Record{Name: "web", HostName: "web", Runner: microvm.Output{Out: newRun, Drv: newDrv}, SSH: yes()},
		}}
	}
}

func says(answer string) func(*world) { return func(w *world) { w.terminal = answer } }

func guestGone(w *world) { w.guest.gone = true }

// newVM is one that the host doesn't have.
func newVM(w *world) {
	p := plan(starts)
	w.answers["plan"] = []any{p}
	p.Predicted = true
	w.answers["probe"] = []any{facts(func(f *hostapi.Facts) {
		f.Plan, f.VM = &p, hostapi.VMState{Unit: hostapi.UnitState{ActiveState: "inactive"}}
	})}
}

func noUnknown(*world) {}

func scenarios() []scenario {
	noTarget := func(w *world) {
		vm := w.ev.Fleet.VMs["web"]
		vm.Target = nil
		w.ev.Fleet.VMs["web"] = vm
	}
	checks := func(r *request.Deploy) {
		r.Confirm = request.Confirm{Checks: health.Checks{TCP: []string{"web:80"}}, Command: "true", Timeout: 30 * time.Second}
	}
	attach := func(change func(*request.Attach)) func(context.Context, *Deployer) (*result.Result, error) {
		return func(ctx context.Context, d *Deployer) (*result.Result, error) {
			r := request.Attach{Host: host1}
			if change != nil {
				change(&r)
			}
			return d.Attach(ctx, r)
		}
	}
	left := func(phase hostapi.Phase) func(*world) {
		return func(w *world) {
			how := hostapi.ActivateLive
			if phase != "" {
				how = hostapi.ActivateRestart
			}
			dep := hostapi.Deployment{ID: leftID, By: "me@here", Started: time.Unix(0, 0).UTC(), Action: hostapi.ActionSwitch, Target: "root@bait"}
			w.answers["underway"] = []any{[]hostapi.Underway{{Name: "web", Deployment: dep, Phase: phase}}}
			c := hostapi.CommitRequest{Name: "web", Runner: newRun, Install: true, Activation: how}
			w.answers["resume"] = []any{hostapi.Resumed{Deployment: dep, Runner: newRun, Phase: phase, Deadline: time.Unix(946684800+60, 0).UTC(), Commit: &c}}
			m := map[string]any{"version": 1, "id": leftID, "attribute": "web", "host": "root@host1", "target": "root@web", "hostName": "web", "action": "switch", "system": newSys, "regInfo": regInfo, "ran": oldSys, "failedBefore": []string{}, "commit": c}
			w.memory[leftID], _ = json.Marshal(m)
			w.guest.switched, w.guest.id, w.guest.before, w.guest.current = true, leftID, oldSys, newSys
			if phase != "" {
				w.guest.switched, w.phase = false, "awaiting"
			}
		}
	}
	hydra := func(change func(*request.Update)) func(*request.Update) { return change }
	built := func(w *world) {
		w.answers["probe"] = []any{facts(func(f *hostapi.Facts) { f.Built = true })}
	}
	return []scenario{
		{"unchanged", plans(nothing), rebuild(nil)},
		{"unchanged, not asked", plans(nothing), rebuild(func(r *request.Deploy) { r.NoGuest = true })},
		{"unchanged but for the guest", all(plans(nothing, nil), runsStranger, func(w *world) { w.answers["plan"] = w.answers["plan"][1:] }), rebuild(nil)},
		{"restart of a guest that lets nobody in", all(plans(restarts), shut(remote.AuthFailed, "Permission denied (", false)), rebuild(nil)},
		{"restart of another machine", all(plans(restarts), runsStranger, func(w *world) { w.guest.facts = "hostname=db\n" }), rebuild(nil)},
		{"start of a new one", all(newVM, shut(remote.Unreachable, "Connection refused", false)), rebuild(nil)},
		{"start where another machine answers", newVM, rebuild(nil)},
		{"restart, another runner is current", all(plans(restarts), func(w *world) {
			w.answers["finish"] = []any{&hostapi.Failure{Kind: hostapi.KindFailed, Message: "`current` is another runner", State: "superseded"}}
		}), rebuild(nil)},
		{"live", nil, rebuild(nil)},
		{"live, built before", built, rebuild(nil)},
		{"live, guest runs something else", func(w *world) { w.guest.current = strSys }, rebuild(nil)},
		{"live, a registration of the host's", plans(noRegInfo, noRegInfo), rebuild(nil)},
		{"live, another host's guest", func(w *world) { w.guest.elsewhere = true }, rebuild(nil)},
		{"live with checks", nil, rebuild(checks)},
		{"live, never undone", nil, rebuild(func(r *request.Deploy) { r.Confirm.NoRollback = true })},
		{"live, units failed", func(w *world) { w.guest.status = "4" }, rebuild(nil)},
		{"live, units failed, accepted", func(w *world) { w.guest.status = "4" }, rebuild(func(r *request.Deploy) { r.Confirm.AcceptFailedUnits = true })},
		{"live, failed, left so", func(w *world) { w.guest.status = "1" }, rebuild(func(r *request.Deploy) { r.Confirm.NoRollback = true })},
		{"live, died", func(w *world) { w.guest.status = "died" }, rebuild(nil)},
		{"live, too late", func(w *world) { w.guest.status = "overdue" }, rebuild(func(r *request.Deploy) { r.Confirm.ActivationLimit = time.Minute })},
		{"live, guest does not confirm", func(w *world) { w.guest.refuses = "failed=a.service\nrefused=units" }, rebuild(checks)},
		{"live, command fails", func(w *world) { w.guest.refuses = "code=3\nrefused=command" }, rebuild(checks)},
		{"live, undone by itself", func(w *world) { w.guest.refuses = "undone=yes" }, rebuild(nil)},
		{"live, guest refuses", func(w *world) { w.guest.refusesStart = "no" }, rebuild(nil)},
		{"live, an earlier switch waits", func(w *world) { w.guest.facts = "armed=earlier\n" }, rebuild(nil)},
		{"live, an earlier switch goes on", func(w *world) { w.guest.facts = "switching=earlier\narmed=earlier\n" }, rebuild(nil)},
		{"live only after the build", plans(only, nil), rebuild(nil)},
		{"dry run, an earlier switch goes on", func(w *world) { w.guest.facts = "switching=earlier\narmed=earlier\n" }, rebuild(func(r *request.Deploy) { r.DryRun = true })},
		{"test", nil, rebuild(func(r *request.Deploy) { r.Action = hostapi.ActionTest })},
		{"dry-activate", nil, rebuild(func(r *request.Deploy) { r.Action = hostapi.ActionDryActivate })},
		{"dry run", nil, rebuild(func(r *request.Deploy) { r.DryRun = true })},
		{"dry run, guest runs something else", func(w *world) { w.guest.current = strSys }, rebuild(func(r *request.Deploy) { r.DryRun = true })},
		{"restart", plans(restarts), rebuild(nil)},
		{"restart, guest does not confirm", all(plans(restarts), func(w *world) { w.guest.refuses = "failed=a.service\nrefused=units" }), rebuild(checks)},
		{"restart, command fails, left so", all(plans(restarts), func(w *world) { w.guest.refuses = "code=3\nrefused=command" }), rebuild(func(r *request.Deploy) { r.Confirm.NoRollback = true })},
		{"restart, wrong system", all(plans(restarts), func(w *world) { w.guest.host = strSys }), rebuild(nil)},
		{"restart, fails on the host", all(plans(restarts), func(w *world) {
			w.answers["commit"] = []any{&hostapi.Failure{Kind: hostapi.KindUnit, Message: "it does not start", State: "put back", RolledBack: true}}
		}), rebuild(nil)},
		{"restart, fails on the host, left so", all(plans(restarts), func(w *world) {
			w.answers["commit"] = []any{&hostapi.Failure{Kind: hostapi.KindUnit, Message: "it does not start"}}
		}), rebuild(func(r *request.Deploy) { r.Confirm.NoRollback = true })},
		{"restart without a target", all(plans(restarts), noTarget), rebuild(nil)},
		{"start", all(plans(starts), noTarget), rebuild(nil)},
		{"install", plans(only), rebuild(func(r *request.Deploy) { r.Action = hostapi.ActionBoot })},
		{"only the flake file", plans(func(p *hostapi.Plan) { nothing(p); p.WriteFlake = true }), rebuild(func(r *request.Deploy) { r.UpdateFlake = "git+https://x" })},
		{"nothing after the build", plans(nil, nothing), rebuild(nil)},
		{"no target", all(noTarget, func(w *world) {
			w.answers["probe"] = []any{facts(func(f *hostapi.Facts) { f.Plan.NeedTarget = true })}
		}), rebuild(nil)},
		{"no host", func(w *world) { w.ev.Fleet = flake.Fleet{} }, rebuild(nil)},
		{"missing shares", probes(func(f *hostapi.Facts) { f.MissingShares = []string{"/srv/a"} }), rebuild(nil)},
		{"locked", probes(theirLock), rebuild(nil)},
		{"locked, dry run", probes(theirLock), rebuild(func(r *request.Deploy) { r.DryRun = true })},
		{"waits for the lock", waited, rebuild(func(r *request.Deploy) { r.Wait = time.Minute })},
		{"another protocol", probes(func(f *hostapi.Facts) { f.Protocol = 999 }), rebuild(nil)},
		{"named addresses", nil, rebuild(func(r *request.Deploy) {
			h, t := microvm.Address{User: "root", Host: "host1"}, web
			r.Host, r.Target, r.HostSudo, r.TargetSudo, r.Name = &h, &t, true, true, "www"
		})},
		{"built here", nil, rebuild(func(r *request.Deploy) { r.Building.On = &microvm.BuildPlace{Local: true} })},
		{"built on a builder", nil, rebuild(func(r *request.Deploy) {
			r.Building.On = &microvm.BuildPlace{Builder: &host1}
		})},
		{"built on the host, which lost derivations", func(w *world) {
			w.answers["build"] = []any{&hostapi.Failure{Kind: hostapi.KindBuild, Message: "no such derivation"}, hostapi.Built{Runner: newRun}}
			w.answers["missing"] = []any{[]microvm.StorePath{newDrv}}
		}, rebuild(nil)},
		{"built here, which the host lost", func(w *world) {
			w.answers["build"] = []any{&hostapi.Failure{Kind: hostapi.KindBuild, Message: "not there"}, hostapi.Built{Runner: newRun}}
			w.answers["missing"] = []any{[]microvm.StorePath{newRun}}
		}, rebuild(func(r *request.Deploy) { r.Building.On = &microvm.BuildPlace{Local: true} })},
		{"a setting that Nix ignores", nil, rebuild(func(r *request.Deploy) { r.Source.Options = []string{"--option", "substituters", "x"} })},
		{"evaluated on the host", noUnknown, rebuild(func(r *request.Deploy) { r.Building.EvalOnHost = true })},
		{"evaluated on the host, unchanged", plans(nothing), rebuild(func(r *request.Deploy) { r.Building.EvalOnHost = true })},
		{"evaluated on the host after a wait", func(w *world) {
			w.answers["prepare"] = []any{hostapi.Prepared{NixVersion: "2.30", Waited: true}}
		}, rebuild(func(r *request.Deploy) { r.Building.EvalOnHost, r.Wait = true, time.Minute })},
		{"evaluated on the host, which lost sources", func(w *world) {
			w.answers["evaluate"] = append([]any{&hostapi.Failure{Kind: hostapi.KindFailed, Message: "not there"}}, w.answers["evaluate"]...)
			w.answers["missing"] = []any{[]microvm.StorePath{newRun}, []microvm.StorePath{}}
		}, rebuild(func(r *request.Deploy) { r.Building.EvalOnHost = true })},
		{"evaluated on the host, dry run", nil, rebuild(func(r *request.Deploy) { r.Building.EvalOnHost, r.DryRun = true, true })},
		{"evaluated on the host, built elsewhere", nil, rebuild(func(r *request.Deploy) {
			r.Building.EvalOnHost, r.Building.On = true, &microvm.BuildPlace{Local: true}
		})},

		{"switch", built, switching(nil)},
		{"switch, dry run", built, switching(func(r *request.Deploy) { r.DryRun = true })},
		{"switch, unchanged", all(built, func(w *world) {
			w.guest.current = newSys
			w.answers["probe"] = []any{facts(func(f *hostapi.Facts) { f.Built, f.VM.Running = true, newSys })}
		}), switching(nil)},
		{"switch, not installed", nil, switching(nil)},
		{"switch, not running", probes(func(f *hostapi.Facts) { f.Built, f.VM.Unit.ActiveState = true, "inactive" }), switching(nil)},
		{"switch, no live switch", all(built, func(w *world) { w.answers["plan"] = []any{plan(restarts)} }), switching(nil)},
		{"switch, waits", func(w *world) {
			waited(w)
			for i, f := range w.answers["probe"] {
				f := f.(hostapi.Facts)
				f.Built = true
				w.answers["probe"][i] = f
			}
		}, switching(func(r *request.Deploy) { r.Wait = time.Minute })},
		{"switch without a host", func(w *world) { w.ev.Fleet.Hosts = nil }, switching(checks)},
		{"switch without a host, test", func(w *world) { w.ev.Fleet.Hosts = nil }, switching(func(r *request.Deploy) { r.Action = hostapi.ActionTest })},
		{"switch without a host, dry-activate", func(w *world) { w.ev.Fleet.Hosts = nil }, switching(func(r *request.Deploy) { r.Action = hostapi.ActionDryActivate })},
		{"switch without a host, unchanged", func(w *world) { w.ev.Fleet.Hosts = nil; w.guest.current = newSys }, switching(nil)},
		{"switch without a host, dry run", func(w *world) { w.ev.Fleet.Hosts = nil }, switching(func(r *request.Deploy) { r.DryRun = true })},
		{"switch without a host, failed", func(w *world) { w.ev.Fleet.Hosts = nil; w.guest.status = "1" }, switching(nil)},
		{"switch without a target", noTarget, switching(nil)},
		{"switch of what can't be", func(w *world) { w.ev.Record.SSH = nil }, switching(nil)},

		{"rollback", rollsBackTo(false), goingBack(nil)},
		{"rollback to what is current", all(rollsBackTo(true), plans(nothing)), goingBack(func(r *request.Rollback) { r.To = 3 })},
		{"rollback, same runner in another generation", all(rollsBackTo(false), plans(nothing)), goingBack(nil)},
		{"rollback, dry run", rollsBackTo(false), goingBack(func(r *request.Rollback) { r.DryRun = true })},
		{"rollback by a restart", all(rollsBackTo(false), plans(restarts)), goingBack(nil)},
		{"rollback of a guest out of reach", all(rollsBackTo(false), plans(nil, restarts), guestGone), goingBack(nil)},
		{"rollback of a guest out of reach, never", all(rollsBackTo(false), guestGone), goingBack(func(r *request.Rollback) { r.Restart = hostapi.RestartNever })},
		{"rollback, failed", all(rollsBackTo(false), func(w *world) { w.guest.status = "1" }), goingBack(nil)},
		{"rollback, waits", all(rollsBackTo(false), waited), goingBack(func(r *request.Rollback) { r.Wait = time.Minute })},
		{"rollback, nobody confirms the address", all(rollsBackTo(false), says("")), goingBack(nil)},
		{"rollback by a restart, nobody confirms the address", all(rollsBackTo(false), plans(restarts), says("no")), goingBack(nil)},
		{"rollback, bad target", func(w *world) {
			w.answers["rollback"] = []any{hostapi.RollbackTarget{Generation: hostapi.Generation{Number: 3, Runner: newRun}, Target: "local"}}
		}, goingBack(nil)},
		{"rollback without record and target", all(plans(nil, restarts), func(w *world) {
			w.answers["rollback"] = []any{hostapi.RollbackTarget{Generation: hostapi.Generation{Number: 3, Runner: newRun}}}
		}), goingBack(nil)},
		{"rollback, restart fails", all(rollsBackTo(false), plans(restarts), func(w *world) { w.guest.refuses = "failed=a\nrefused=units" }), goingBack(func(r *request.Rollback) { r.Target = &web })},

		{"update", nil, updates(nil)},
		{"update, dry run", nil, updates(hydra(func(r *request.Update) { r.DryRun = true }))},
		{"update, there already", all(plans(nothing), probes(func(f *hostapi.Facts) { f.VM.Current = newRun })), updates(nil)},
		{"update, there but old, dry run", probes(func(f *hostapi.Facts) { f.VM.Old = newRun }), updates(func(r *request.Update) { r.DryRun = true })},
		{"update, there but old", probes(func(f *hostapi.Facts) { f.VM.Old = newRun }), updates(nil)},
		{"update, nobody confirms the address", says("no"), updates(nil)},
		{"update, never restarted, nobody confirms the address", all(says(""), plans(nil, only)), updates(func(r *request.Update) { r.Restart = hostapi.RestartNever })},
		{"update of no VM", probes(func(f *hostapi.Facts) { f.VM.Exists = false }), updates(nil)},
		{"update, bad target", probes(func(f *hostapi.Facts) { f.Target = "local" }), updates(nil)},
		{"update of another flake", nil, updates(func(r *request.Update) { r.Source = source{of: "git+https://other"} })},
		{"update, no build", nil, updates(func(r *request.Update) { r.Source, r.AllVMs = source{err: "none"}, true })},
		{"update, no build of the named one", nil, updates(func(r *request.Update) { r.Source = source{err: "none"} })},
		{"update, undone before", probes(func(f *hostapi.Facts) { f.Undone, f.UndoneID = newRun, "ID" }), updates(func(r *request.Update) { r.Unattended = true })},
		{"update, guest out of reach", all(plans(nil, restarts), guestGone), updates(nil)},
		{"update, guest out of reach, never", all(plans(nil, only), guestGone), updates(func(r *request.Update) { r.Restart = hostapi.RestartNever })},
		{"update, named guest out of reach", all(plans(nil, restarts), guestGone), updates(func(r *request.Update) { r.Target = &web })},
		{"update without a target", all(plans(nil, restarts), func(w *world) {
			w.answers["probe"] = []any{facts(func(f *hostapi.Facts) { f.Target = "" })}
		}), updates(nil)},
		{"update by a restart", plans(restarts), updates(nil)},
		{"update by a restart, named target", plans(restarts), updates(func(r *request.Update) { r.Target = &web })},
		{"update of another machine", func(w *world) { w.guest.facts = "hostname=db\n" }, updates(nil)},
		{"update of a guest without the store", all(plans(nil, restarts), func(w *world) { w.guest.facts = "store=no\n" }), updates(nil)},
		{"update, waits", waited, updates(func(r *request.Update) { r.Wait = time.Minute })},
		{"update by its flake", nil, updates(func(r *request.Update) { r.Source = nil })},
		{"update by no flake", probes(func(f *hostapi.Facts) { f.VM.Flake = "" }), updates(func(r *request.Update) { r.Source = nil })},
		{"update, relayed", nil, updates(func(r *request.Update) {
			r.Fetch = request.Fetch{Cache: "https://cache", Relay: request.RelayAlways, Stall: time.Second}
		})},
		{"update, relayed since the host can't", func(w *world) {
			w.answers["fetch"] = []any{&hostapi.Failure{Kind: hostapi.KindUnreachable, Message: "no route to the cache"}, struct{}{}}
		}, updates(func(r *request.Update) { r.Fetch = request.Fetch{Cache: "https://cache", Relay: request.RelayAuto} })},
		{"update, never relayed", func(w *world) {
			w.answers["fetch"] = []any{&hostapi.Failure{Kind: hostapi.KindUnreachable, Message: "no route to the cache"}}
		}, updates(func(r *request.Update) { r.Fetch = request.Fetch{Cache: "https://cache", Relay: request.RelayNever} })},
		{"update, relay with a password", func(w *world) { w.sudoPass = true }, updates(func(r *request.Update) { r.Fetch = request.Fetch{Cache: "https://cache", Relay: request.RelayAlways} })},

		{"attach, live", left(""), attach(nil)},
		{"attach, live, refused", all(left(""), func(w *world) { w.guest.refuses = "failed=a\nrefused=units" }), attach(nil)},
		{"attach, live, confirmed already", all(left(""), func(w *world) { w.guest.decided, w.guest.confirmed = true, true }), attach(nil)},
		{"attach, live, undone already", all(left(""), func(w *world) { w.guest.decided, w.guest.current = true, oldSys }), attach(nil)},
		{"attach, restart", left(hostapi.PhaseAwait), attach(func(r *request.Attach) { r.Name = "web" })},
		{"attach, restart, refused", all(left(hostapi.PhaseAwait), func(w *world) { w.guest.refuses = "failed=a\nrefused=units" }), attach(nil)},
		{"attach without memory", all(left(""), func(w *world) { w.memory = map[string][]byte{} }), attach(nil)},
		{"attach to nothing", func(w *world) { w.answers["underway"] = []any{[]hostapi.Underway{}} }, attach(nil)},
	}
}

func newWorld(t testing.TB, s scenario, nixDir string, f fault) *world {
	target := web
	w := &world{
		t: t, count: map[string]int{}, fault: f, nixDir: nixDir, memory: map[string][]byte{}, terminal: "yes",
		guest: guestWorld{current: oldSys, host: newSys, boot: 1},
		ev: &flake.Evaluation{
			URL: "git+https://user:pw@flake", Revision: "abc", Warnings: []string{"a warning"},
			Record: microvm.Record{
				Name: "web", HostName: "web", Runner: microvm.Output{Drv: newDrv, Out: newRun}, System: &microvm.Output{Out: newSys},
				Shares: []microvm.Share{{Source: microvm.StoreDir}}, SSH: yes(),
			},
			Fleet: flake.Fleet{
				Hosts: map[string]flake.Host{"h": {Address: host1}},
				VMs:   map[microvm.Name]flake.VM{"web": {Host: "h", Target: &target}},
			},
		},
		archive: &flake.Archive{Ref: "path:/nix/store/x", Sources: []microvm.StorePath{newRun}, URL: "git+https://flake", Revision: "abc"},
	}
	w.fleet = w.ev.Fleet
	w.answers = map[string][]any{
		"probe": {facts(nil)}, "plan": {plan(nil)}, "prepare": {hostapi.Prepared{NixVersion: "2.30"}}, "build": {hostapi.Built{Runner: newRun}},
		"missing":  {[]microvm.StorePath{}},
		"evaluate": {hostapi.Evaluated{Output: json.RawMessage(evaluatedWeb)}},
	}
	if s.world != nil {
		s.world(w)
	}
	return w
}

// evaluatedWeb is what record.nix yields on the host.
const evaluatedWeb = `{"vms":{"web":{"record":{"name":"web","hostName":"web","runner":{"drv":"/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner.drv","out":"/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner"},"system":{"drv":"/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system.drv","out":"/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system"},"ssh":true,"shares":[{"tag":"s","proto":"9p","source":"/nix/store","mountPoint":"/"}]}}}}`
