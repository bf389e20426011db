package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"ferry/internal/deploy/request"
	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// A host that names another machine as its guest leads nobody there: without the
// operator's word nothing but the host is dialled, and a deployment that needs the
// address ends as wrong usage, which names --target.
func TestRecordedTargetIsAHint(t *testing.T) {
	bait := func(w *world) {
		rollsBackTo(false)(w)
		f := facts(func(f *hostapi.Facts) { f.Target, f.TargetSudo = "root@bait", true })
		w.answers["probe"] = []any{f}
		back := w.answers["rollback"][0].(hostapi.RollbackTarget)
		back.Target, back.TargetSudo = "root@bait", true
		w.answers["rollback"] = []any{back}
	}
	always := func(r *request.Rollback) { r.Restart = hostapi.RestartAlways }
	alwaysUpdate := func(r *request.Update) { r.Restart = hostapi.RestartAlways }
	never := func(r *request.Update) { r.Restart = hostapi.RestartNever }
	for _, c := range []struct {
		name   string
		world  func(*world)
		run    func(context.Context, *Deployer) (*result.Result, error)
		asked  int
		usage  bool
		dialed []string
	}{
		{"rollback without a terminal", nil, goingBack(nil), 0, true, []string{"root@host1"}},
		{"rollback, no", says("no"), goingBack(nil), 1, true, []string{"root@host1"}},
		{"rollback, yes", says("yes"), goingBack(nil), 1, false, []string{"root@bait+sudo", "root@host1"}},
		{"rollback, dry run without a terminal", nil, goingBack(func(r *request.Rollback) { r.DryRun = true }), 0, true, []string{"root@host1"}},
		{"rollback, never, without a terminal", nil, goingBack(func(r *request.Rollback) { r.Restart = hostapi.RestartNever }), 0, true, []string{"root@host1"}},
		{"rollback, always, without a terminal", plans(restarts), goingBack(always), 0, false, []string{"root@host1"}},
		{"rollback, always, no", all(plans(restarts), says("no")), goingBack(always), 1, false, []string{"root@host1"}},
		{"rollback, named", says("no"), goingBack(func(r *request.Rollback) { r.Target = &web }), 0, false, []string{"root@host1", "root@web"}},
		{"update without a terminal", nil, updates(nil), 0, true, []string{"root@host1"}},
		{"update, no", says("no"), updates(nil), 1, true, []string{"root@host1"}},
		{"update, yes", says("yes"), updates(nil), 1, false, []string{"root@bait+sudo", "root@host1"}},
		{"update, never, without a terminal", plans(nil, only), updates(never), 0, false, []string{"root@host1"}},
		{"update, always, without a terminal", plans(restarts), updates(alwaysUpdate), 0, false, []string{"root@host1"}},
		{"update on the host itself", nil, updates(func(r *request.Update) { r.Host = microvm.Address{Local: true} }), 0, false, []string{"local", "root@bait+sudo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w *world
			var err error
			synctest.Test(t, func(t *testing.T) {
				s := scenario{world: all(says(""), bait)}
				if c.world != nil {
					s.world = all(says(""), c.world, bait)
				}
				w = newWorld(t, s, t.TempDir(), fault{})
				_, err = c.run(t.Context(), w.deployer())
			})
			var usage *request.UsageError
			if errors.As(err, &usage) != c.usage || !c.usage && err != nil {
				t.Errorf("got %v", err)
			}
			if c.usage && !strings.Contains(usage.Hint(), "--target root@bait --target-sudo") {
				t.Errorf("the hint is %q", usage.Hint())
			}
			var dialled []string
			asked := 0
			for _, line := range w.trace {
				if at, ok := strings.CutPrefix(line, "dial "); ok {
					dialled = append(dialled, strings.TrimSuffix(strings.TrimSuffix(at, " fresh"), " batch"))
				}
				if q, ok := strings.CutPrefix(line, "asked: "); ok {
					asked++
					if !strings.Contains(q, "root@bait (with sudo)") {
						t.Errorf("the question does not name the address: %s", q)
					}
				}
			}
			slices.Sort(dialled)
			if dialled = slices.Compact(dialled); !slices.Equal(dialled, c.dialed) || asked != c.asked {
				t.Errorf("dialled %q, asked %d times:\n%s", dialled, asked, strings.Join(w.trace, "\n"))
			}
		})
	}
}
