package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/nix"
)

// collect gets the flake with all its inputs for a host that evaluates it.
// Here only the `ferry` output is evaluated, for the addresses.
func (d *deployment) collect(ctx context.Context) error {
	if on := d.req.Building.On; on != nil && !on.OnHost() {
		return &UsageError{Message: "what is evaluated on the host is built there, not on " + d.where(), Next: "leave out --eval-on host, or --build-on"}
	}
	d.req.Building.On = nil
	a, err := d.Evaluator.Archive(ctx, d.req.Source, d.req.Attribute)
	var impure flake.ImpureError
	if errors.As(err, &impure) {
		return &UsageError{Message: impure.Error(), Next: impure.Hint()}
	}
	if err != nil {
		return err
	}
	fleet, warnings, err := d.Evaluator.Fleet(ctx, d.req.Source)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		d.Report.Warn("%s", w)
	}
	d.archive, d.eval = a, &flake.Evaluation{URL: a.URL, Revision: a.Revision, Fleet: fleet}
	d.fromFleet(fleet)
	d.req.Building.On = nil
	d.intend()
	return nil
}

// rebuildThere is rebuild with the evaluation on the host, under the VM's lock:
// only then it is known what is to be done.
func (d *deployment) rebuildThere(ctx context.Context) error {
	if err := d.needHost(); err != nil {
		return err
	}
	if err := d.openHost(ctx); err != nil {
		return err
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.evaluateThere(ctx); err != nil {
		return err
	}
	if err := d.probe(ctx); err != nil {
		return err
	}
	if err := d.checkShares(); err != nil {
		return err
	}
	if !d.plan.Predicted && d.plan.Nothing() {
		d.result.fromPlan(d.plan)
		return d.finish(ctx, OutcomeUnchanged)
	}
	if d.plan.Activation == hostapi.ActivateLive {
		if err := d.lookAtGuest(ctx); err != nil {
			return err
		}
	}
	return d.buildAndGo(ctx)
}

// shipSources copies the flake and its inputs, which the host has rooted
// already. They are addressed by their content, so nobody has to trust us.
func (d *deployment) shipSources(ctx context.Context) error {
	target := d.host.NixCopy()
	switch {
	case target.Store == "":
		return nil
	case d.host.SudoPassword():
		return d.stream(ctx, d.archive.Sources, false)
	}
	d.step("copying the flake and its inputs to %s", d.req.Host)
	n := *d.Nix
	n.Log = detailWriter{d}
	err := n.CopyPaths(ctx, nix.PathsRequest{To: target.Store, Env: target.Env, Paths: d.archive.Sources})
	if err != nil {
		return fmt.Errorf("copying the flake to %s: %w", d.req.Host, err)
	}
	return nil
}

// evaluateThere ships the sources and gets the record from the host. A garbage
// collector that read the roots just before may take sources all the same: then
// they are copied once more.
func (d *deployment) evaluateThere(ctx context.Context) error {
	for shipment := 1; ; shipment++ {
		if err := d.shipSources(ctx); err != nil {
			return err
		}
		err := d.askForRecord(ctx)
		if err == nil || shipment == maxShipments || ctx.Err() != nil || !d.lacks(ctx, d.archive.Sources...) {
			return err
		}
		d.step("a garbage collection on %s took sources", d.req.Host)
	}
}

func (d *deployment) askForRecord(ctx context.Context) error {
	d.step("evaluating on %s", d.req.Host)
	req := hostapi.EvaluateRequest{
		Name: d.req.Name, Flake: d.archive.Ref, Expression: d.archive.Expression,
		Options: d.archive.Options, Locks: json.RawMessage(d.archive.Locks),
	}
	var said hostapi.Evaluated
	if err := d.session.Call(ctx, hostapi.Request{Evaluate: &req}, &said); err != nil {
		return err
	}
	ev, err := flake.DecodeEvaluation(said.Output, d.archive.URL, d.req.Attribute)
	if err != nil {
		return err
	}
	for _, w := range ev.Warnings {
		d.Report.Warn("%s", w)
	}
	ev.URL, ev.Revision = d.archive.URL, d.archive.Revision
	d.take(ev)
	return nil
}
