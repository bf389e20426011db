package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// BuildOnHost has the host build a VM's runner. bring makes the derivation be
// there and says which it is, for the first time or a later one. A garbage
// collector that read the roots just before may take some of its closure all the
// same: where gone says so, it is brought once more.
func (w Way) BuildOnHost(ctx context.Context, vm microvm.Name, bring func(ctx context.Context, shipment int) (microvm.StorePath, error), gone func(context.Context, microvm.StorePath) bool) (microvm.StorePath, error) {
	for shipment := 1; ; shipment++ {
		drv, err := bring(ctx, shipment)
		if err != nil {
			return "", err
		}
		w.Report.Step("building on %s", w.To)
		runner, err := w.build(ctx, hostapi.BuildRequest{Name: vm, Derivations: []microvm.StorePath{drv}})
		if err == nil {
			return runner, nil
		}
		if shipment == maxShipments || ctx.Err() != nil || !gone(ctx, drv) {
			return "", err
		}
		w.Report.Step("a garbage collection on %s took derivations", w.To)
	}
}

func (w Way) build(ctx context.Context, req hostapi.BuildRequest) (microvm.StorePath, error) {
	var built hostapi.Built
	err := w.Host.Call(ctx, hostapi.Request{Build: &req}, &built)
	return built.Runner, err
}

// ClosureGone reports whether the host lacks some of a derivation's closure, as
// this machine has it.
func (w Way) ClosureGone(ctx context.Context, drv microvm.StorePath) bool {
	closure, err := w.Nix(nil).Requisites(ctx, drv)
	return err == nil && w.lacks(ctx, closure)
}

// PathGone reports whether the host lacks a path.
func (w Way) PathGone(ctx context.Context, p microvm.StorePath) bool {
	return w.lacks(ctx, []microvm.StorePath{p})
}

// Place is where something is built that is not built on its host.
type Place struct {
	Builder remote.Conn // nil: this machine
	Name    string      // for messages
}

// Recipe is what is built elsewhere.
type Recipe struct {
	VM       microvm.Name
	Runner   microvm.Output
	Options  []string // of the user's, for Nix; those that mean nothing to a build are left out
	SendsAll bool     // the host fetches nothing from its own caches
}

// BuildElsewhere builds on this machine or on a builder, copies what was built to
// the host and has it taken in there.
func (w Way) BuildElsewhere(ctx context.Context, r Recipe, at Place) (microvm.StorePath, error) {
	dir, err := os.MkdirTemp("", "ferry-build-")
	if err != nil {
		return "", fmt.Errorf("making a directory for the build's result: %w", err)
	}
	defer os.RemoveAll(dir)
	for shipment := 1; ; shipment++ {
		w.Report.Step("building on %s", at.Name)
		out, err := w.buildAt(ctx, r, at, filepath.Join(dir, "result"))
		if err != nil {
			return "", err
		}
		if err := w.push(ctx, out, at, !r.SendsAll); err != nil {
			return "", err
		}
		runner, err := w.build(ctx, hostapi.BuildRequest{Name: r.VM, Built: out})
		if err == nil {
			return runner, nil
		}
		if shipment == maxShipments || ctx.Err() != nil || !w.PathGone(ctx, out) {
			return "", err
		}
		w.Report.Step("a garbage collection on %s took what was copied", w.To)
	}
}

// buildAt builds here, where link keeps the result until it is copied, or on the
// builder, and returns the runner.
func (w Way) buildAt(ctx context.Context, r Recipe, at Place, link string) (microvm.StorePath, error) {
	log := w.Report.Log()
	defer log.Close()
	req := nix.BuildRequest{Derivations: []microvm.StorePath{r.Runner.Drv}, Link: link, Options: buildOptions(r.Options)}
	if at.Builder != nil {
		target := at.Builder.NixCopy()
		req.Link, req.Store, req.Env = "", target.Store, target.Env
	}
	outs, err := w.Nix(log).BuildIn(ctx, req)
	if err != nil {
		return "", at.failure(err)
	}
	if want := r.Runner.Out; want != "" && outs[0] != want {
		return "", fmt.Errorf("the build made %s instead of the evaluated runner %s", outs[0], want)
	}
	return outs[0], nil
}

// failure says it as a host does of its own builds.
func (p Place) failure(err error) error {
	var be *nix.BuildError
	if !errors.As(err, &be) {
		return fmt.Errorf("building on %s: %w", p.Name, err)
	}
	return &hostapi.Failure{
		Kind: hostapi.KindBuild, Message: fmt.Sprintf("building %s on %s failed: %s", be.Derivation, p.Name, be.Message), Log: be.LogTail,
		Hint: be.HintOn(p.Name), See: be.Section(),
	}
}

// push copies what was built to the host. What the host can't have from its own
// caches is sent, from a builder by way of this machine.
func (w Way) push(ctx context.Context, out microvm.StorePath, from Place, substitute bool) error {
	to := w.Host.NixCopy()
	req := nix.PathsRequest{To: to.Store, Env: to.Env, Paths: []microvm.StorePath{out}, Substitute: substitute}
	if from.Builder != nil {
		req.From = from.Builder.NixCopy().Store
	}
	switch {
	case req.From == "" && req.To == "":
		return nil // built in place
	case w.Host.Streams():
		return w.pushThroughHelper(ctx, req, from)
	}
	w.Report.Step("copying %s to %s", out, w.To)
	if from.Builder != nil {
		env, remove, err := w.Host.Pair(from.Builder)
		if err != nil {
			return err
		}
		defer remove()
		req.Env = env
	}
	if req.To == "" {
		req.Substitute = false // it is for remote destinations
	}
	if err := w.quiet().CopyPaths(ctx, req); err != nil {
		return fmt.Errorf("copying what was built to %s: %w", w.To, err)
	}
	return nil
}

// pushThroughHelper is for a host where sudo wants a password: what a builder
// has comes into this machine's store first.
func (w Way) pushThroughHelper(ctx context.Context, req nix.PathsRequest, from Place) error {
	if from.Builder != nil {
		w.Report.Step("copying %s from %s", req.Paths[0], from.Name)
		target := from.Builder.NixCopy()
		err := w.Nix(nil).CopyPaths(ctx, nix.PathsRequest{From: target.Store, Env: target.Env, Paths: req.Paths})
		if err != nil {
			return fmt.Errorf("copying what was built from %s: %w", from.Name, err)
		}
	}
	return w.stream(ctx, req.Paths, req.Substitute)
}

// buildOptions are those of the user's options that mean something to a build.
func buildOptions(options []string) []string {
	var mine []string
	for i := 0; i < len(options); i++ {
		values := 0
		switch options[i] {
		case "--option":
			values = 2
		case "--extra-experimental-features", "--netrc-file":
			values = 1
		case "--offline":
		default:
			continue
		}
		end := min(i+values+1, len(options))
		mine = append(mine, options[i:end]...)
		i = end - 1
	}
	return mine
}
