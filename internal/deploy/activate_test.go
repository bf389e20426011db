package deploy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"ferry/internal/deploy/request"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// watched is the trace of a scenario, whose deployer may be changed.
func watched(t *testing.T, s scenario, change func(*Deployer)) (trace string, err error) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s, dir, fault{})
		d := w.deployer()
		change(d)
		_, err = s.run(t.Context(), d)
		trace = strings.Join(w.trace, "\n")
	})
	return trace, err
}

// The host looks whether it reaches the guest before anything is switched, where that
// can be told.
func TestHostIsToldWhereTheGuestIs(t *testing.T) {
	at := func(host string, err error) func(*Deployer) {
		return func(d *Deployer) {
			d.tools.endpoint = func(context.Context, microvm.Address) (string, int, error) { return host, 2222, err }
		}
	}
	for name, c := range map[string]struct {
		request func(*request.Deploy)
		at      func(*Deployer)
		told    string // empty: nothing
	}{
		"as ssh reaches it":   {at: at("10.0.0.5", nil), told: `"guest":{"host":"10.0.0.5","port":2222}`},
		"never restarted":     {request: func(r *request.Deploy) { r.Restart = hostapi.RestartNever }, at: at("10.0.0.5", nil), told: `"guest":{"host":"10.0.0.5","port":2222,"noRestart":true}`},
		"never undone":        {request: func(r *request.Deploy) { r.Confirm.NoRollback = true }, at: at("10.0.0.5", nil)},
		"through a jump host": {at: at("", errors.New("a jump host"))},
		"a forwarded port":    {at: at("127.0.0.1", nil)},
	} {
		t.Run(name, func(t *testing.T) {
			trace, err := watched(t, scenario{name: name, run: rebuild(c.request)}, c.at)
			if err != nil || strings.Contains(trace, `"guest":{"host"`) != (c.told != "") || !strings.Contains(trace, c.told) {
				t.Errorf("%v\n%s", err, trace)
			}
		})
	}
}

// On a first deployment nothing had failed before, so every unit that fails counts.
func TestFailedUnitsCountOnAFirstDeployment(t *testing.T) {
	for _, exists := range []bool{false, true} {
		s := scenario{world: func(w *world) {
			shut(remote.Unreachable, "No route to host", false)(w)
			p := plan(starts)
			w.answers["plan"] = []any{p}
			w.answers["probe"] = []any{facts(func(f *hostapi.Facts) {
				f.Plan = &p
				f.VM = hostapi.VMState{Exists: exists, Unit: hostapi.UnitState{ActiveState: "inactive"}}
			})}
		}, run: rebuild(nil)}
		trace, err := watched(t, s, func(*Deployer) {})
		want := map[bool]string{false: "guest confirm: |" + string(newSys) + "|no||", true: "guest confirm: |" + string(newSys) + "|yes||"}[exists]
		if err != nil || !strings.Contains(trace, want) {
			t.Errorf("exists %t: %v\n%s", exists, err, trace)
		}
	}
}
