package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferry/internal/host/plan"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/runner"
	"ferry/internal/trouble"
)

// Probe answers a ProbeRequest. It changes nothing and starts no Nix process.
func (s *Server) Probe(ctx context.Context, req hostapi.ProbeRequest) (*hostapi.Facts, error) {
	f := &hostapi.Facts{Protocol: hostapi.ProtocolVersion, Now: time.Now().UTC()}
	vm, err := s.see.Locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	if err := s.hasStore(ctx); err != nil {
		return nil, err
	}
	disk := s.see.VM(req.Name)
	f.VM, f.StateDir, f.NoNixDaemon = *vm, s.see.Layout.StateDir, !nix.OnPath("nix-daemon")
	f.Lock = disk.Lock().Holder()
	if req.Origin && vm.Current != "" {
		f.Origin = disk.History().Origin(vm.Current)
	}
	if req.Record == nil {
		f.Target, f.TargetSudo = disk.History().Target()
		f.Undone, f.UndoneID = disk.History().Undone()
		f.Installed = disk.History().BuildOf(vm.Current)
		return f, nil
	}
	if err := s.checkNames(req.Name, req.Record.HostName, vm.Exists); err != nil {
		return nil, err
	}
	f.MissingShares = missingShares(req.Record.Shares)
	f.Built = req.Record.Runner.Out != "" &&
		slices.Contains([]microvm.StorePath{vm.Current, vm.Old, vm.Booted}, req.Record.Runner.Out)
	f.Plan, err = plan.Make(plan.Input{
		Root: s.see.Layout.Root, Records: disk.Notes(),
		VM: *vm, Intent: req.Intent, Record: req.Record,
		Runner: req.Record.Runner.Out, Built: f.Built, GuestSystem: req.GuestSystem,
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Plan answers a PlanRequest for a runner that is in the store.
func (s *Server) Plan(ctx context.Context, req hostapi.PlanRequest) (*hostapi.Plan, error) {
	vm, err := s.see.Locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	p, err := plan.Make(plan.Input{
		Root: s.see.Layout.Root, Records: s.see.VM(req.Name).Notes(),
		VM: *vm, Intent: req.Intent, Record: req.Record,
		Runner: req.Runner, Built: true, GuestSystem: req.GuestSystem,
	})
	if err != nil {
		return nil, err
	}
	if p.Changed {
		p.Closure = s.closureDiff(ctx, *vm, p)
	}
	return p, nil
}

// closureDiff compares what runs with what is to run: systems where both are
// known, else runners.
func (s *Server) closureDiff(ctx context.Context, vm hostapi.VMState, p *hostapi.Plan) []string {
	from, to := vm.Running, p.System
	if from == "" || to == "" || !s.inStore(from) || !s.inStore(to) { // a store disk's need not be there
		from, to = vm.Current, p.Runner
	}
	if from == "" || to == "" || from == to {
		return nil
	}
	lines, err := s.nix.DiffClosures(ctx, from, to)
	if err != nil {
		line, _, _ := strings.Cut(err.Error(), "\n")
		return []string{"(the closures cannot be compared: " + line + ")"}
	}
	return lines
}

func (s *Server) inStore(p microvm.StorePath) bool {
	_, err := os.Stat(filepath.Join(s.see.Layout.Root, string(p)))
	return err == nil
}

// checkNames refuses a VM whose links would be another VM's, and one that
// microvm.nix's scripts keep in a directory of its host name.
func (s *Server) checkNames(n microvm.Name, hostName string, exists bool) error {
	others, err := s.see.Layout.Names()
	if err != nil {
		return err
	}
	if o := n.Collides(others); o != "" {
		return hostapi.Refuse(fmt.Sprintf("the VM name %s collides with %s: their GC roots in %s would be the same link", n, o, s.see.Layout.MicrovmRoots()),
			"give one of them another name")
	}
	switch {
	case exists || hostName == "":
		return nil
	case hostName != string(n) && slices.Contains(others, microvm.Name(hostName)):
		return hostapi.Refuse(fmt.Sprintf("%s has the host name %s, and a VM directory of that name exists on the host", n, hostName),
			fmt.Sprintf("if that is the same VM, use --name %s; otherwise rename one of them", hostName))
	case hostName == string(n):
		if o := s.namesakeOf(hostName, others); o != "" {
			return hostapi.Refuse(fmt.Sprintf("%s is new on the host, and the VM %s there has the host name %s already", n, o, hostName),
				fmt.Sprintf("if that is the same VM, use --name %s; otherwise rename one of them", o))
		}
	}
	return nil
}

// namesakeOf is one of the VMs whose system has the host name: under the name of
// its attribute, it was deployed with ferry, and comes again under its host name,
// by which microvm.nix's own commands know it.
func (s *Server) namesakeOf(hostName string, vms []microvm.Name) microvm.Name {
	for _, n := range vms {
		if s.hostNameOf(n) == hostName {
			return n
		}
	}
	return ""
}

// hostNameOf is the host name of what is installed; empty where that can't be told.
func (s *Server) hostNameOf(n microvm.Name) string {
	vm := s.see.VM(n)
	dir, err := vm.Open()
	if err != nil || dir == nil {
		return ""
	}
	defer dir.Close()
	current, err := dir.Link("current")
	if err != nil || current == "" {
		return ""
	}
	if rec := vm.Notes().Record(current); rec != nil {
		return rec.HostName
	}
	r, err := runner.Open(s.see.Layout.Root, current)
	if err != nil {
		return ""
	}
	return r.HostName()
}

func missingShares(shares []microvm.Share) []string {
	var missing []string
	for _, sh := range shares {
		if !strings.HasPrefix(sh.Source, "/") {
			continue // relative to the VM's directory: made there by the VM's own scripts
		}
		if _, err := os.Stat(filepath.Clean(sh.Source)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, sh.Source)
		}
	}
	return missing
}

// hasStore refuses a host without a Nix store. A Nix that was never used, such as
// a distribution's package, makes its store when root first uses it.
func (s *Server) hasStore(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(s.see.Layout.Root, microvm.StoreDir))
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking at the host's store: %w", err)
	}
	if _, err := s.nix.Version(ctx); err != nil {
		return hostapi.Refuse(fmt.Sprintf("the host has no Nix store: %v", err), "install Nix on the host (https://nixos.org/download, or the distribution's package)").About(trouble.NixNotFound)
	}
	return nil
}
