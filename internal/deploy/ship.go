package deploy

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// ship copies the derivations to the host, which has them rooted already.
func (d *deployment) ship(ctx context.Context) error {
	drvs := []microvm.StorePath{d.record.Runner.Drv}
	target := d.host.NixCopy()
	switch {
	case d.host.Address().Local && target.Store == "":
		return nil
	case d.host.SudoPassword():
		return d.stream(ctx, drvs, false)
	}
	d.step("copying derivations to %s", d.req.Host)
	quiet := *d.Nix // a line for each of thousands of paths is for --verbose
	quiet.Log = detailWriter{d}
	return quiet.CopyDerivations(ctx, nix.CopyRequest{To: target.Store, Env: target.Env, Derivations: drvs})
}

// detailWriter reports whole lines as details.
type detailWriter struct{ d *deployment }

func (w detailWriter) Write(p []byte) (int, error) {
	w.d.Report.Detail(w.d.subject(), "%s", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// toShip is what the host has to root before it is copied. What is built
// elsewhere is rooted by the runner's own path.
func (d *deployment) toShip() []microvm.StorePath {
	switch {
	case d.archive != nil:
		return d.archive.Sources
	case d.place().OnHost():
		return []microvm.StorePath{d.record.Runner.Drv}
	}
	return nil
}

// importStall is after how long a host is given up that neither takes paths nor
// says that it has them all: it may have a large one to write to its disk.
const importStall = 15 * time.Minute

// stream sends what the host lacks of a closure through the helper: where sudo
// wants a password, the programs that `nix copy` starts can't be root. With
// substitute the host fetches before what its own caches have.
func (d *deployment) stream(ctx context.Context, paths []microvm.StorePath, substitute bool) error {
	closure, err := d.Nix.Requisites(ctx, paths...)
	if err != nil {
		return err
	}
	var missing []microvm.StorePath
	if err := d.session.Call(ctx, hostapi.Request{Missing: &hostapi.MissingRequest{Paths: closure, Substitute: substitute}}, &missing); err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	d.step("copying %d paths to %s", len(missing), d.req.Host)
	own, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	p, err := hostclient.Import(own, d.host)
	if err != nil {
		return err
	}
	patience := remote.NewPatience(importStall, func() { stop(fmt.Errorf("it took nothing more for %s", importStall)) })
	defer patience.Stop()
	go func() { _, _ = io.Copy(io.Discard, p.Stdout) }() // what nobody reads would hold it up
	err = d.Nix.Export(own, patience.Writer(p.Stdin), missing)
	if cerr := p.Stdin.Close(); err == nil && cerr != nil {
		err = cerr
	}
	if werr := p.Wait(); werr != nil {
		return fmt.Errorf("importing them on %s: %w", d.req.Host, werr)
	}
	return err
}

// maxShipments bounds how often derivations are copied again.
const maxShipments = 3

// build ships and builds. A garbage collector that read the roots just before
// the derivations arrived may take some of them all the same: then they are
// copied once more.
func (d *deployment) build(ctx context.Context) error {
	if !d.place().OnHost() {
		return d.buildElsewhere(ctx)
	}
	for shipment := 1; ; shipment++ {
		if err := d.bringDerivations(ctx, shipment); err != nil {
			return err
		}
		d.step("building on %s", d.req.Host)
		req := hostapi.BuildRequest{Name: d.req.Name, Derivations: []microvm.StorePath{d.record.Runner.Drv}}
		var built hostapi.Built
		err := d.session.Call(ctx, hostapi.Request{Build: &req}, &built)
		if err == nil {
			d.plan.Runner = built.Runner
			return nil
		}
		if shipment == maxShipments || ctx.Err() != nil || !d.derivationsGone(ctx) {
			return err
		}
		d.step("a garbage collection on %s took derivations", d.req.Host)
	}
}

// bringDerivations ships them, or has the host evaluate once more where it did.
func (d *deployment) bringDerivations(ctx context.Context, shipment int) error {
	switch {
	case d.archive == nil:
		return d.ship(ctx)
	case shipment == 1:
		return nil
	}
	return d.evaluateThere(ctx)
}

// derivationsGone reports whether the host lacks some of what was copied, or of
// what it has evaluated.
func (d *deployment) derivationsGone(ctx context.Context) bool {
	if d.archive != nil {
		return d.lacks(ctx, d.record.Runner.Drv)
	}
	closure, err := d.Nix.Requisites(ctx, d.record.Runner.Drv)
	if err != nil {
		return false
	}
	var missing []microvm.StorePath
	err = d.session.Call(ctx, hostapi.Request{Missing: &hostapi.MissingRequest{Paths: closure}}, &missing)
	return err == nil && len(missing) > 0
}
