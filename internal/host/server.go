package host

import (
	"context"
	"io"
	"time"

	"ferry/internal/host/inventory"
	"ferry/internal/host/manage"
	"ferry/internal/host/unfinished"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/systemd"
)

// Server answers requests about the VMs of this machine. It belongs to one
// session and is not for concurrent use.
type Server struct {
	see   *inventory.Observer
	units unitManager
	nix   nixTool

	lookout lookout
	noUnits error  // why units is nil
	others  Others // of a session
}

// unitManager is what Server needs of systemd.
type unitManager interface {
	manage.Units
	Transient(ctx context.Context, u systemd.TransientUnit) error
	Failure(ctx context.Context, n microvm.Name, since time.Time, message string) *hostapi.Failure
}

// nixTool is what Server needs of the nix command line.
type nixTool interface {
	Version(ctx context.Context) (nix.Version, error)
	Missing(ctx context.Context, paths []microvm.StorePath) ([]microvm.StorePath, error)
	Substitute(ctx context.Context, paths []microvm.StorePath) error
	Eval(ctx context.Context, r nix.EvalRequest) ([]byte, error)
	Build(ctx context.Context, link string, drvs ...microvm.StorePath) ([]microvm.StorePath, error)
	Fetch(ctx context.Context, r nix.FetchRequest) error
	Signers(ctx context.Context, cache string, p microvm.StorePath) ([]string, error)
	TrustedKeys(ctx context.Context) ([]string, error)
	AddFile(ctx context.Context, name string, content []byte) (microvm.StorePath, error)
	AddRoot(ctx context.Context, link string, p microvm.StorePath) error
	AddRoots(ctx context.Context, link string, paths []microvm.StorePath) error
	SetProfile(ctx context.Context, profile string, p microvm.StorePath) error
	SwitchGeneration(ctx context.Context, profile string, n int) error
	DiffClosures(ctx context.Context, a, b microvm.StorePath) ([]string, error)
	DumpRegistration(ctx context.Context, w io.Writer, p microvm.StorePath) error
}

// NewServer connects to systemd and uses the machine's Nix, whose messages go
// to log.
func NewServer(ctx context.Context, layout vmstate.Layout, log io.Writer) (*Server, error) {
	// The connection would end with its context, but what must be finished goes
	// on when this process is told to end.
	units, err := systemd.Connect(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	return newServer(layout, units, &nix.Nix{Program: "nix", Log: log}), nil
}

// Close lets go of systemd.
func (s *Server) Close() {
	if s.units != nil {
		s.units.Close()
	}
}

func newServer(layout vmstate.Layout, units unitManager, nix nixTool) *Server {
	return &Server{see: &inventory.Observer{Layout: layout, Units: units}, units: units, nix: nix}
}

// manage is this machine for what is no part of a deployment.
func (s *Server) manage() *manage.Machine {
	return manage.New(s.see, s.units, s.nix, s.unfinished().ForLife)
}

// unfinished is this machine for deployments that were left unfinished.
func (s *Server) unfinished() unfinished.Host {
	return unfinished.Host{See: s.see, Units: s.units, Nix: s.nix}
}

// Settle ends all deployments that were left unfinished, as at the start of the
// machine. VMs that somebody works on are left to them.
func (s *Server) Settle(ctx context.Context, booting bool, log func(n microvm.Name, line string)) error {
	return s.unfinished().Settle(ctx, booting, log)
}

// OpenMachine is this machine for what is no part of a deployment, without a
// session. Messages of Nix go to log.
func OpenMachine(ctx context.Context, layout vmstate.Layout, log io.Writer) (*manage.Machine, error) {
	s, err := NewServer(ctx, layout, log)
	if err != nil {
		return nil, err
	}
	return s.manage(), nil
}
