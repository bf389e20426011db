package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/host/step"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/runner"
	"ferry/internal/trouble"
)

// fetch brings the prepared runner into the store and makes sure that it is one
// of this VM's. `pending` points to it already, so it is kept from the moment it
// is there.
func (d obtaining) fetch(ctx context.Context, req hostapi.FetchRequest) (*hostapi.Built, error) {
	runner := d.note.Runner
	if runner == "" {
		return nil, hostapi.Refuse("it was not said what to download", "")
	}
	if err := step.Do(step.Build, func() error { return download{nix: d.srv.nix, req: req}.run(ctx, runner) }); err != nil {
		return nil, err
	}
	if err := d.srv.fits(ctx, req.Name, runner); err != nil {
		return nil, err
	}
	// Nix makes the link anew, so that a collector at work learns of it.
	if err := d.srv.nix.AddRoot(ctx, d.vm.Roots().Pending(), runner); err != nil {
		return nil, err
	}
	return &hostapi.Built{Runner: runner}, nil
}

// download brings a path from a cache into the store.
type download struct {
	nix nixTool
	req hostapi.FetchRequest
}

// run downloads what the store lacks.
func (d download) run(ctx context.Context, p microvm.StorePath) error {
	missing, err := d.nix.Missing(ctx, []microvm.StorePath{p})
	if err != nil || len(missing) == 0 {
		return err
	}
	stall, limit := d.req.Times()
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = d.nix.Fetch(within, nix.FetchRequest{Cache: d.req.Cache, Path: p, Stall: stall})
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil && within.Err() != nil:
		return &hostapi.Failure{Kind: hostapi.KindUnreachable, Message: fmt.Sprintf("%s was not there within %s: the download was ended", p, limit), Hint: "a longer time: --fetch-limit"}
	}
	return d.failure(ctx, err)
}

// failure says what kept a download from coming in, and what would help.
func (d download) failure(ctx context.Context, err error) error {
	var fe *nix.FetchError
	if !errors.As(err, &fe) {
		return err
	}
	from := d.req.Cache
	if from == "" {
		from = "the host's substituters"
	}
	f := &hostapi.Failure{Kind: hostapi.KindRefused, Log: lastLines(err)}
	switch fe.Kind {
	case nix.FetchUnsigned:
		f.Message, f.Hint = d.unsigned(ctx, fe.Path)
		f.See = trouble.UnsignedPath
	case nix.FetchMissing:
		f.Message = fmt.Sprintf("%s is not in %s", fe.Path, from)
		f.Hint = "wait until CI has uploaded it, or name another cache with --cache"
	case nix.FetchUnreachable:
		f.Kind, f.Message = hostapi.KindUnreachable, from+" can't be reached from the host"
		f.Hint = "check it from there; --relay=always copies through this machine instead"
	case nix.FetchStalled:
		f.Kind, f.Message = hostapi.KindUnreachable, from+" stopped sending"
		f.Hint = "try again; how long it may stand still: --stall-timeout"
	default:
		f.Kind, f.Message = hostapi.KindFailed, fmt.Sprintf("%s could not be downloaded from %s", fe.Path, from)
	}
	return f
}

// unsigned says which key is needed for a path that came without one that counts.
func (d download) unsigned(ctx context.Context, p microvm.StorePath) (message, hint string) {
	message = fmt.Sprintf("%s has no signature by a key that the host trusts", p)
	hint = "add the cache's key to trusted-public-keys in the host's nix.conf, if you trust it"
	if d.req.Cache == "" {
		return message, hint
	}
	signers, err := d.nix.Signers(ctx, d.req.Cache, p)
	if err != nil {
		return message, hint
	}
	trusted, _ := d.nix.TrustedKeys(ctx)
	message = "not accepted by the host: " + nix.DescribeSigners(p, signers, trusted)
	if len(trusted) > 0 {
		hint += "; it trusts " + strings.Join(trusted, ", ")
	}
	return message, hint
}

const maxFetchLog = 8 // lines of Nix's that an error shows

func lastLines(err error) []string {
	var ce *nix.CommandError
	if !errors.As(err, &ce) {
		return nil
	}
	said := slices.DeleteFunc(slices.Clone(ce.Stderr), func(line string) bool { return !strings.Contains(line, "error:") })
	return said[max(0, len(said)-maxFetchLog):]
}

// fits refuses what is no runner, and the runner of another VM: nobody has
// evaluated it here, so all that is known of it is what is inside.
func (s *Server) fits(ctx context.Context, n microvm.Name, p microvm.StorePath) error {
	next, err := runner.Open(s.see.Layout.Root, p)
	if err != nil {
		return err
	}
	vm, err := s.see.Locate(ctx, n)
	if err != nil || vm.Current == "" {
		return err
	}
	now, err := runner.Open(s.see.Layout.Root, vm.Current)
	if err != nil {
		return nil // it can't be compared, and is to be replaced
	}
	if was, is := now.HostName(), next.HostName(); was != "" && is != "" && was != is {
		return hostapi.Refuse(fmt.Sprintf("%s contains a system named %.64q; %s's is named %q", p, is, n, was),
			fmt.Sprintf("check what the build is for; to rename the system inside, ferry rebuild %s", n))
	}
	return nil
}
