package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/trouble"
)

// Fetch says which runner comes from which cache.
type Fetch struct {
	VM     microvm.Name
	Runner microvm.StorePath
	Cache  string // a store URL; empty: the host's own substituters
	// Stall is how long a download may stand still, Limit how long it may take; 0:
	// the defaults.
	Stall, Limit time.Duration
	// OnlyRelay brings it by way of this machine. Otherwise the host fetches it, and
	// this is done where the host can't reach the cache, unless NeverRelay.
	OnlyRelay, NeverRelay bool
}

func (f Fetch) request() hostapi.Request {
	return hostapi.Request{Fetch: &hostapi.FetchRequest{
		Name: f.VM, Cache: f.Cache, StallSeconds: int(f.Stall.Seconds()), LimitSeconds: int(f.Limit.Seconds()),
	}}
}

// Obtain brings a runner into the host's store.
func (w Way) Obtain(ctx context.Context, f Fetch) error {
	if !f.OnlyRelay {
		err := w.download(ctx, f)
		if err == nil || f.NeverRelay || f.Cache == "" || w.To.Local || !isUnreachable(err) || ctx.Err() != nil {
			return err
		}
		w.Report.Step("%v: copying through this machine", err)
	}
	return w.relay(ctx, f)
}

func isUnreachable(err error) bool {
	var f *hostapi.Failure
	return errors.As(err, &f) && f.Kind == hostapi.KindUnreachable
}

// download has the host fetch a runner.
func (w Way) download(ctx context.Context, f Fetch) error {
	w.Report.Step("downloading %s", microvm.SystemBaseName(string(f.Runner)))
	return w.Host.Call(ctx, f.request(), nil)
}

// relay brings a runner from the cache into this machine's store and from here
// to the host. Both check the signatures, each by the keys that it trusts.
func (w Way) relay(ctx context.Context, f Fetch) error {
	to := w.Host.NixCopy()
	switch {
	case to.Store == "":
		return hostapi.Refuse("the host is this machine: there is nothing to relay", "leave out --relay")
	case w.Host.Streams():
		return hostapi.Refuse(
			fmt.Sprintf("nothing can be relayed to %s, where sudo asks for a password, or nix-daemon is not on the PATH of a command over SSH", w.To),
			"log in there as root, let sudo work without a password, or put nix-daemon on that PATH")
	}
	w.Report.Step("downloading %s", microvm.SystemBaseName(string(f.Runner)))
	within, cancel := context.WithTimeout(ctx, cmp.Or(f.Limit, hostapi.FetchLimit))
	defer cancel()
	err := w.quiet().Fetch(within, nix.FetchRequest{Cache: f.Cache, Path: f.Runner, Stall: cmp.Or(f.Stall, hostapi.FetchStall)})
	if err != nil {
		return w.notRelayed(ctx, err, f.Cache, "this machine")
	}
	w.Report.Step("copying it to %s", w.To)
	if err := w.quiet().Push(within, to.Store, to.Env, f.Runner); err != nil {
		return w.notRelayed(ctx, err, f.Cache, "the host")
	}
	// It is there: what is left is to look at it.
	return w.Host.Call(ctx, f.request(), nil)
}

// notRelayed says which key is needed where one is.
func (w Way) notRelayed(ctx context.Context, err error, cache, where string) error {
	p, unsigned := nix.Unsigned(err)
	if !unsigned {
		return err
	}
	hint := fmt.Sprintf("add the cache's key to trusted-public-keys of %s (nix.conf), if you trust it; what a user's own nix.conf says counts only where trusted-users names the user", where)
	message := fmt.Sprintf("%s has no signature by a key that %s trusts", p, where)
	own := w.Nix(nil)
	if signers, serr := own.Signers(ctx, cache, p); serr == nil {
		var trusted []string
		if where == "this machine" {
			trusted, _ = own.TrustedKeys(ctx)
		}
		message = fmt.Sprintf("not accepted by %s: %s", where, nix.DescribeSigners(p, signers, trusted))
	}
	return hostapi.Refuse(message, hint).About(trouble.UnsignedPath)
}
