package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/ui"
	"ferry/internal/update"
)

// Relay says when a runner is copied through this machine instead of by the host
// itself.
type Relay string

// The values of --relay. Auto: where the host can't reach the cache.
const (
	RelayAuto   Relay = "auto"
	RelayAlways Relay = "always"
	RelayNever  Relay = "never"
)

// UpdateRequest is what the user wants of a VM whose runner others have chosen:
// CI, or whoever moves the flake that the VM's `flake` file names.
type UpdateRequest struct {
	Name     microvm.Name
	Host     microvm.Address
	HostSudo bool
	// Conn is a connection to the host, which stays open; nil: one of its own.
	Conn remote.Conn
	// Target wins over what the last deployment recorded on the host; nil: that.
	Target     *microvm.Address
	TargetSudo bool
	// Source says which runner; nil: what the VM's `flake` file yields.
	Source update.Source
	// AllVMs: the VM was not named, so one that the source has nothing for is
	// passed over.
	AllVMs bool
	// Unattended: a runner whose deployment was undone is not tried again and
	// again, each time with the VM down for a moment.
	Unattended bool
	Fetch      Fetch

	Restart hostapi.RestartPolicy // empty: auto
	DryRun  bool
	Confirm Confirm
	Wait    time.Duration // for the VM's lock; 0: not
}

// Fetch says where a prebuilt runner comes from.
type Fetch struct {
	Cache string // a store URL; empty: the host's own substituters
	Relay Relay  // empty: auto
	// Stall is how long a download may stand still, Limit how long it may take; 0:
	// the defaults.
	Stall, Limit time.Duration
}

// updating is what a deployment has to know when it is an update.
type updating struct {
	UpdateRequest
	found update.Found
	// recorded: the target is the one of an earlier deployment. Nobody says that
	// this machine can log in there.
	recorded bool
	// ofFlake: the source builds the VM's flake, so it should have a build for it.
	ofFlake bool
}

// errSkipped ends a deployment of a VM that is not to be updated; the result has
// the reason.
var errSkipped = errors.New("skipped")

// Update brings a VM to the newest runner of a source, as a rebuild does: live
// where possible, else by a restart, with the same undo behind it. Where the
// guest can't be reached, --restart decides. Nothing is evaluated here unless
// the VM's `flake` file is the source.
func (d *Deployer) Update(ctx context.Context, req UpdateRequest) (*Result, error) {
	if req.Restart == "" {
		req.Restart = hostapi.RestartAuto
	}
	run := d.begin(Request{
		Attribute: req.Name, Name: req.Name, Host: &req.Host, HostSudo: req.HostSudo,
		Target: req.Target, TargetSudo: req.TargetSudo,
		Action: hostapi.ActionSwitch, Restart: req.Restart, DryRun: req.DryRun,
		Confirm: req.Confirm, Wait: req.Wait,
	})
	run.lent, run.up = req.Conn, &updating{UpdateRequest: req}
	defer run.close()
	run.result.Update = true
	err := run.update(ctx)
	if errors.Is(err, errSkipped) {
		run.result.Outcome, err = OutcomeSkipped, nil
	}
	return run.end(ctx, err)
}

func (d *deployment) skip(format string, args ...any) error {
	d.result.Reason = fmt.Sprintf(format, args...)
	return errSkipped
}

func (d *deployment) update(ctx context.Context) error {
	if err := d.openHost(ctx); err != nil {
		return err
	}
	if err := d.lookUpdate(ctx); err != nil {
		return err
	}
	if err := d.find(ctx); err != nil {
		return err
	}
	runner := d.record.Runner.Out
	if d.up.Unattended && d.facts.Undone == runner && runner != "" {
		return &RefusedError{
			Message: fmt.Sprintf("this very runner was deployed before and undone (%s)", d.facts.UndoneID),
			Next:    fmt.Sprintf("ferry history %s tells why; the next build is tried again, and this one by ferry update %s", d.req.Name, d.req.Name),
		}
	}
	if there := d.facts.VM; !d.mustWait() && slices.Contains([]microvm.StorePath{there.Current, there.Old, there.Booted}, runner) {
		if err := d.planUpdate(ctx); err != nil {
			return err
		}
		if d.plan.Nothing() || d.req.DryRun {
			d.result.fromPlan(d.plan)
			d.result.Outcome = OutcomeUnchanged
			if d.req.DryRun {
				d.result.Outcome = OutcomeDryRun
			}
			return nil
		}
	}
	if d.req.DryRun {
		d.result.Runner, d.result.Install, d.result.Predicted, d.result.Outcome = runner, true, true, OutcomeDryRun
		return nil
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.obtain(ctx); err != nil {
		return err
	}
	if err := d.planUpdate(ctx); err != nil { // as it is now that nobody else works on it
		return err
	}
	d.result.fromPlan(d.plan)
	return d.carryOut(ctx)
}

// lookUpdate asks the host for the VM, and for the target that it has recorded.
func (d *deployment) lookUpdate(ctx context.Context) error {
	if err := d.askFacts(ctx, hostapi.ProbeRequest{Name: d.req.Name}); err != nil {
		return err
	}
	if !d.facts.VM.Exists {
		return &RefusedError{
			Message: fmt.Sprintf("there is no VM %s on %s", d.req.Name, d.req.Host),
			Next:    fmt.Sprintf("ferry rebuild %s makes it, ferry list shows those there are", d.req.Name),
		}
	}
	d.result.Previous = d.facts.VM.Current
	if d.req.Target == nil && d.facts.Target != "" {
		address, err := microvm.ParseAddress(d.facts.Target)
		if err != nil || address.Local {
			return fmt.Errorf("the target that %s has recorded is no address: %.80q", d.req.Host, d.facts.Target)
		}
		d.req.Target, d.req.TargetSudo, d.up.recorded = &address, d.req.TargetSudo || d.facts.TargetSudo, true
	}
	d.intent = hostapi.Intent{Action: hostapi.ActionSwitch, Restart: d.req.Restart, TargetKnown: d.req.Target != nil}
	return nil
}

// find asks the source which runner the VM should have.
func (d *deployment) find(ctx context.Context) error {
	d.record = microvm.Record{Name: d.req.Name}
	recorded := d.facts.VM.Flake
	if d.up.Source == nil {
		return d.findByFlake(ctx, recorded)
	}
	if s, ok := d.up.Source.(interface {
		Flake(ctx context.Context) (string, error)
	}); ok { // before Hydra is asked for builds that are not for this VM
		from, err := s.Flake(ctx)
		if err != nil {
			return err
		}
		d.up.ofFlake = from != ""
		if err := (update.Found{Flake: from}).For(recorded); err != nil {
			return d.skip("%v", err) // an empty one is for all
		}
	}
	found, err := d.up.Source.Latest(ctx, d.req.Name)
	if errors.Is(err, update.ErrNoBuild) && d.up.AllVMs && !d.up.ofFlake {
		return d.skip("%v", err)
	}
	if err != nil {
		return err
	}
	if err := found.For(recorded); err != nil {
		return d.skip("%v", err)
	}
	d.up.found, d.record.Runner.Out, d.result.Build = found, found.Runner, ui.Redact(found.Build)
	d.back = &goBack{to: hostapi.Generation{Runner: found.Runner, Current: true}}
	return nil
}

// findByFlake evaluates what the VM's `flake` file names.
func (d *deployment) findByFlake(ctx context.Context, ref string) error {
	if ref == "" {
		return d.skip("it has no `flake` file to be updated from")
	}
	if flake.FixedInStore(ref) {
		d.Report.Warn("%s: its `flake` file names a path of the store, which never changes: %s", d.req.Name, ref)
	}
	// The reference may have moved within the hour that Nix caches it.
	ev, err := d.Evaluator.Evaluate(ctx, flake.Source{Ref: ref, Options: []string{"--refresh"}}, d.req.Attribute)
	if err != nil {
		return err
	}
	for _, w := range ev.Warnings {
		d.Report.Warn("%s", w)
	}
	d.eval, d.record = ev, ev.Record
	d.record.Name = d.req.Name
	d.result.System = systemOut(&d.record)
	d.back = &goBack{to: hostapi.Generation{Runner: d.record.Runner.Out, Current: true}}
	return nil
}

// obtain has the runner in the host's store, rooted: built there from the
// evaluated derivation, or downloaded.
func (d *deployment) obtain(ctx context.Context) error {
	if d.eval != nil {
		err := d.build(ctx)
		if _, gone := os.Stat(string(d.record.Runner.Drv)); errors.Is(gone, fs.ErrNotExist) && err != nil && ctx.Err() == nil {
			// A garbage collection came before its root: now it has one.
			if err = d.findByFlake(ctx, d.facts.VM.Flake); err == nil {
				err = d.build(ctx)
			}
		}
		if err != nil {
			return err
		}
		d.back.to.Runner = d.plan.Runner
		return nil
	}
	f := d.up.Fetch
	req := hostapi.FetchRequest{Name: d.req.Name, Cache: f.Cache, StallSeconds: int(f.Stall.Seconds()), LimitSeconds: int(f.Limit.Seconds())}
	if f.Relay != RelayAlways {
		d.step("downloading %s", microvm.SystemBaseName(string(d.record.Runner.Out)))
		err := d.session.Call(ctx, hostapi.Request{Fetch: &req}, nil)
		if err == nil || f.Relay == RelayNever || f.Cache == "" || d.host.Address().Local || !isUnreachable(err) || ctx.Err() != nil {
			return err
		}
		d.step("%v: copying through this machine", err)
	}
	return d.relay(ctx, req)
}

func isUnreachable(err error) bool {
	var f *hostapi.Failure
	return errors.As(err, &f) && f.Kind == hostapi.KindUnreachable
}
