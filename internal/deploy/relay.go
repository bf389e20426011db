package deploy

import (
	"context"
	"fmt"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// relay brings a runner from the cache into this machine's store and from here
// to the host. Both check the signatures, each by the keys that it trusts.
func (d *deployment) relay(ctx context.Context, req hostapi.FetchRequest) error {
	runner := d.record.Runner.Out
	to := d.host.NixCopy()
	switch {
	case to.Store == "":
		return &RefusedError{Message: "the host is this machine: there is nothing to relay", Next: "leave out --relay"}
	case d.host.SudoPassword():
		return &RefusedError{
			Message: fmt.Sprintf("nothing can be relayed to %s, where sudo asks for a password", d.req.Host),
			Next:    "log in there as root, or let sudo work without a password",
		}
	}
	d.step("downloading %s", microvm.SystemBaseName(string(runner)))
	quiet := *d.Nix
	quiet.Log = detailWriter{d}
	stall, limit := hostapi.FetchStall, hostapi.FetchLimit
	if d.up.Fetch.Stall > 0 {
		stall = d.up.Fetch.Stall
	}
	if d.up.Fetch.Limit > 0 {
		limit = d.up.Fetch.Limit
	}
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := quiet.Fetch(within, nix.FetchRequest{Cache: req.Cache, Path: runner, Stall: stall}); err != nil {
		return d.notRelayed(ctx, err, "this machine")
	}
	d.step("copying it to %s", d.req.Host)
	if err := quiet.Push(within, to.Store, to.Env, runner); err != nil {
		return d.notRelayed(ctx, err, "the host")
	}
	// It is there: what is left is to look at it.
	return d.session.Call(ctx, hostapi.Request{Fetch: &req}, nil)
}

// notRelayed says which key is needed where one is.
func (d *deployment) notRelayed(ctx context.Context, err error, where string) error {
	p, unsigned := nix.Unsigned(err)
	if !unsigned {
		return err
	}
	hint := fmt.Sprintf("add the cache's key to trusted-public-keys of %s (nix.conf), if you trust it; what a user's own nix.conf says counts only where trusted-users names the user", where)
	message := fmt.Sprintf("%s has no signature by a key that %s trusts", p, where)
	if signers, serr := d.Nix.Signers(ctx, d.up.Fetch.Cache, p); serr == nil {
		var trusted []string
		if where == "this machine" {
			trusted, _ = d.Nix.TrustedKeys(ctx)
		}
		message = fmt.Sprintf("not accepted by %s: %s", where, nix.DescribeSigners(p, signers, trusted))
	}
	return &RefusedError{Message: message, Next: hint}
}
