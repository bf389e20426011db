package transfer

import (
	"context"
	"encoding/json"
	"fmt"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// sources copies a flake and its inputs, which the host has rooted already. They
// are addressed by their content, so nobody has to trust us.
func (w Way) sources(ctx context.Context, paths []microvm.StorePath) error {
	target := w.Host.NixCopy()
	switch {
	case target.Store == "":
		return nil
	case w.Host.Streams():
		return w.stream(ctx, paths, false)
	}
	w.Report.Step("copying the flake and its inputs to %s", w.To)
	err := w.quiet().CopyPaths(ctx, nix.PathsRequest{To: target.Store, Env: target.Env, Paths: paths})
	if err != nil {
		return fmt.Errorf("copying the flake to %s: %w", w.To, err)
	}
	return nil
}

// Evaluate ships a flake and its inputs and has the host evaluate a VM's record. A
// garbage collector that read the roots just before may take sources all the same:
// then they are copied once more.
func (w Way) Evaluate(ctx context.Context, vm, attribute microvm.Name, a *flake.Archive) (*flake.Evaluation, error) {
	for shipment := 1; ; shipment++ {
		if err := w.sources(ctx, a.Sources); err != nil {
			return nil, err
		}
		ev, err := w.askForRecord(ctx, vm, attribute, a)
		if err == nil || shipment == maxShipments || ctx.Err() != nil || !w.lacks(ctx, a.Sources) {
			return ev, err
		}
		w.Report.Step("a garbage collection on %s took sources", w.To)
	}
}

func (w Way) askForRecord(ctx context.Context, vm, attribute microvm.Name, a *flake.Archive) (*flake.Evaluation, error) {
	w.Report.Step("evaluating on %s", w.To)
	req := hostapi.EvaluateRequest{
		Name: vm, Flake: a.Ref, Expression: a.Expression, Options: a.Options, Locks: json.RawMessage(a.Locks),
	}
	var said hostapi.Evaluated
	if err := w.Host.Call(ctx, hostapi.Request{Evaluate: &req}, &said); err != nil {
		return nil, err
	}
	ev, err := flake.DecodeEvaluation(said.Output, a.URL, attribute)
	if err != nil {
		return nil, err
	}
	for _, warning := range ev.Warnings {
		w.Report.Warn("%s", warning)
	}
	ev.URL, ev.Revision = a.URL, a.Revision
	return ev, nil
}
