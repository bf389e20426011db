package transfer

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

const (
	// importStall is after how long a host is given up that neither takes paths nor
	// says that it has them all: it may have a large one to write to its disk.
	importStall = 15 * time.Minute
	// maxShipments bounds how often something is copied again.
	maxShipments = 3
)

// Nix is what is asked of the operator's Nix.
type Nix interface {
	CopyDerivations(ctx context.Context, r nix.CopyRequest) error
	CopyPaths(ctx context.Context, r nix.PathsRequest) error
	Requisites(ctx context.Context, paths ...microvm.StorePath) ([]microvm.StorePath, error)
	Export(ctx context.Context, w io.Writer, paths []microvm.StorePath) error
	Store(ctx context.Context, url string, env []string) (nix.StoreInfo, error)
	BuildIn(ctx context.Context, r nix.BuildRequest) ([]microvm.StorePath, error)
	Fetch(ctx context.Context, r nix.FetchRequest) error
	Push(ctx context.Context, to string, env []string, p microvm.StorePath) error
	Signers(ctx context.Context, cache string, p microvm.StorePath) ([]string, error)
	TrustedKeys(ctx context.Context) ([]string, error)
}

// Host is the machine that a closure goes to.
type Host interface {
	Call(ctx context.Context, req hostapi.Request, result any) error
	// Import starts the helper that takes in what Nix has exported.
	Import(ctx context.Context) (*Process, error)
	// Pair is the environment for a copy from a builder.
	Pair(builder remote.Conn) (env []string, remove func(), err error)
	NixCopy() remote.NixTarget
	// Streams says that Nix can't start its daemon there as root (sudo wants a password,
	// or the daemon isn't where a command over SSH finds it): the helper takes in what
	// is streamed to it.
	Streams() bool
}

// Process is a helper that reads a stream.
type Process struct {
	Stdin  io.WriteCloser
	Stdout io.Reader
	Wait   func() error
}

// Reporter is told how it goes.
type Reporter interface {
	Step(format string, args ...any)
	Detail(format string, args ...any)
	Warn(format string, args ...any)
	Log() io.WriteCloser
}

// Way is the way from this machine to a host.
type Way struct {
	To   microvm.Address
	Host Host
	// Nix is the operator's, with its log in the writer; nil: where it is.
	Nix    func(log io.Writer) Nix
	Report Reporter
}

// quiet is Nix whose log is for those who want to know all: a line for each of
// thousands of paths.
func (w Way) quiet() Nix { return w.Nix(details{w.Report}) }

// details reports whole lines.
type details struct{ to Reporter }

func (d details) Write(p []byte) (int, error) {
	d.to.Detail("%s", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// Derivations copies derivations to the host, which has them rooted already.
func (w Way) Derivations(ctx context.Context, drvs ...microvm.StorePath) error {
	target := w.Host.NixCopy()
	switch {
	case w.To.Local && target.Store == "":
		return nil
	case w.Host.Streams():
		return w.stream(ctx, drvs, false)
	}
	w.Report.Step("copying derivations to %s", w.To)
	return w.quiet().CopyDerivations(ctx, nix.CopyRequest{To: target.Store, Env: target.Env, Derivations: drvs})
}

// stream sends what the host lacks of a closure through the helper: where sudo
// wants a password, the programs that `nix copy` starts can't be root. With
// substitute the host fetches before what its own caches have.
func (w Way) stream(ctx context.Context, paths []microvm.StorePath, substitute bool) error {
	quiet := w.Nix(nil)
	closure, err := quiet.Requisites(ctx, paths...)
	if err != nil {
		return err
	}
	missing, err := w.missing(ctx, hostapi.MissingRequest{Paths: closure, Substitute: substitute})
	if err != nil || len(missing) == 0 {
		return err
	}
	w.Report.Step("copying %d paths to %s", len(missing), w.To)
	own, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	p, err := w.Host.Import(own)
	if err != nil {
		return err
	}
	patience := remote.NewPatience(importStall, func() { stop(fmt.Errorf("it took nothing more for %s", importStall)) })
	defer patience.Stop()
	go func() { _, _ = io.Copy(io.Discard, p.Stdout) }() // what nobody reads would hold it up
	err = quiet.Export(own, patience.Writer(p.Stdin), missing)
	if cerr := p.Stdin.Close(); err == nil && cerr != nil {
		err = cerr
	}
	if werr := p.Wait(); werr != nil {
		return fmt.Errorf("importing them on %s: %w", w.To, werr)
	}
	return err
}

// lacks reports whether the host's store lacks some of the paths.
func (w Way) lacks(ctx context.Context, paths []microvm.StorePath) bool {
	missing, err := w.missing(ctx, hostapi.MissingRequest{Paths: paths})
	return err == nil && len(missing) > 0
}

func (w Way) missing(ctx context.Context, req hostapi.MissingRequest) ([]microvm.StorePath, error) {
	var missing []microvm.StorePath
	err := w.Host.Call(ctx, hostapi.Request{Missing: &req}, &missing)
	return missing, err
}
