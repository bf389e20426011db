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

	"golang.org/x/sys/unix"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// maxFlakeFile bounds a VM's `flake` file, in bytes.
const maxFlakeFile = 4096

// Probe answers a ProbeRequest. It changes nothing and starts no Nix process.
func (s *Server) Probe(ctx context.Context, req hostapi.ProbeRequest) (*hostapi.Facts, error) {
	f := &hostapi.Facts{Protocol: hostapi.ProtocolVersion}
	vm, err := s.locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	if f.FreeBytes, err = s.storeSpace(ctx); err != nil {
		return nil, err
	}
	f.VM, f.StateDir = *vm, s.layout.StateDir
	f.Lock = s.layout.lockHolder(req.Name)
	f.BootedRecord = s.layout.record(req.Name, vm.Booted)
	if req.Record == nil {
		f.Target, f.TargetSudo = s.layout.RecordedTarget(req.Name)
		f.Undone, f.UndoneID = s.layout.undone(req.Name)
		return f, nil
	}
	if err := s.checkNames(req.Name, req.Record.HostName, vm.Exists); err != nil {
		return nil, err
	}
	f.MissingShares = missingShares(req.Record.Shares)
	f.Built = req.Record.Runner.Out != "" &&
		slices.Contains([]microvm.StorePath{vm.Current, vm.Old, vm.Booted}, req.Record.Runner.Out)
	plan, err := s.plan(planInput{
		name: req.Name, vm: *vm, intent: req.Intent, record: req.Record,
		runner: req.Record.Runner.Out, built: f.Built, guestSystem: req.GuestSystem,
	})
	if err != nil {
		return nil, err
	}
	f.Plan = plan
	return f, nil
}

// locate is see for what may change a VM's links: it refuses a VM that the host
// itself declares.
func (s *Server) locate(ctx context.Context, n microvm.Name) (*hostapi.VMState, error) {
	vm, why, err := s.see(ctx, n)
	if err == nil && why != "" {
		return nil, declared(n, why)
	}
	return vm, err
}

// see finds the state directory and reads a VM's links and unit; why says by
// what the host itself declares the VM, empty where it does not. A machine that
// has no MicroVM units is refused.
func (s *Server) see(ctx context.Context, n microvm.Name) (vm *hostapi.VMState, why string, err error) {
	if _, err := microvm.ParseName(string(n)); err != nil {
		return nil, "", hostapi.Refuse(err.Error(), "")
	}
	unit, err := s.units.Unit(ctx, n.Unit())
	if err != nil {
		return nil, "", err
	}
	if unit.LoadState != "loaded" {
		return nil, "", hostapi.Refuse("this machine has no microvm@.service: it is not a host for MicroVMs yet",
			"import microvm.nixosModules.host on NixOS, elsewhere run `ferry host setup`")
	}
	if dir, ok := unit.StateDir(n); ok {
		s.layout.StateDir = dir
	}
	dir, err := s.layout.openVMDir(n)
	if err != nil {
		return nil, "", err
	}
	defer dir.close()
	vm = &hostapi.VMState{Unit: unit.UnitState}
	for name, p := range map[string]*microvm.StorePath{"current": &vm.Current, "old": &vm.Old, "booted": &vm.Booted} {
		if *p, err = readRunnerLink(dir, name); err != nil {
			return nil, "", err
		}
	}
	vm.Exists = vm.Current != ""
	var asked time.Time
	vm.ToStart = s.layout.readNote(n, noteToStart, &asked) == nil && unit.Since.Before(asked)
	if dir != nil {
		if dir.hasToplevel() {
			why = "its directory has a `toplevel` link"
		}
		// One that can't be used counts as none: a deployment may replace it.
		vm.Flake, _ = dir.readFlake()
	}
	if unit, err := s.units.DeclaredBy(ctx, n); err != nil {
		return nil, "", err
	} else if unit != "" {
		why = unit + " links `current` again at every rebuild of the host"
	}
	vm.Running, vm.Unsure = s.running(n, vm)
	return vm, why, nil
}

func declared(n microvm.Name, why string) *hostapi.Failure {
	return hostapi.Refuse(fmt.Sprintf("%s is declared by the host's own NixOS configuration (%s)", n, why),
		"deploy the host instead, or take the VM out of its microvm.vms (or give it an updateFlake)")
}

// running is the system that a VM's guest runs as far as the host knows, and
// whether the last switch to it may have failed.
func (s *Server) running(n microvm.Name, vm *hostapi.VMState) (system microvm.StorePath, unsure bool) {
	if !vm.Unit.Up() {
		return "", false
	}
	unsure = s.layout.unsure(n, vm.Unit.InvocationID)
	var note runningNote
	if s.layout.readNote(n, noteRunning, &note) == nil && note.InvocationID == vm.Unit.InvocationID && note.InvocationID != "" {
		return note.System, unsure || note.Failed
	}
	return s.systemIn(vm.Booted), unsure
}

// systemIn is the system in a runner; empty where that can't be told.
func (s *Server) systemIn(p microvm.StorePath) microvm.StorePath {
	if p == "" {
		return ""
	}
	r, err := runner.Open(s.layout.Root, p)
	if err != nil {
		return ""
	}
	return r.System
}

// checkNames refuses a VM whose links would be another VM's, and one that
// microvm.nix's scripts keep in a directory of its host name.
func (s *Server) checkNames(n microvm.Name, hostName string, exists bool) error {
	entries, err := os.ReadDir(s.layout.StateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listing the VMs: %w", err)
	}
	var others []microvm.Name
	for _, e := range entries {
		if o, err := microvm.ParseName(e.Name()); err == nil && e.IsDir() {
			others = append(others, o)
		}
	}
	if o := n.Collides(others); o != "" {
		return hostapi.Refuse(fmt.Sprintf("the VM name %s collides with %s: their GC roots in %s would be the same link", n, o, s.layout.microvmRoots()),
			"give one of them another name")
	}
	if !exists && hostName != "" && hostName != string(n) && slices.Contains(others, microvm.Name(hostName)) {
		return hostapi.Refuse(fmt.Sprintf("%s has the host name %s, and a VM directory of that name exists on the host", n, hostName),
			fmt.Sprintf("if that is the same VM, use --name %s; otherwise rename one of them", hostName))
	}
	return nil
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

// storeSpace is what is free for the store, in bytes. A Nix that was never used,
// such as a distribution's package, has no store yet and makes it when root
// first uses it: then that is what is free where it will be.
func (s *Server) storeSpace(ctx context.Context) (uint64, error) {
	store := filepath.Join(s.layout.Root, microvm.StoreDir)
	free, err := freeBytes(store)
	if err == nil {
		return free, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("looking at the host's store: %w", err)
	}
	if _, err := s.nix.Version(ctx); err != nil {
		return 0, hostapi.Refuse(fmt.Sprintf("the host has no Nix store: %v", err), "install Nix on the host (https://nixos.org/download, or the distribution's package)")
	}
	for errors.Is(err, fs.ErrNotExist) && store != "/" {
		store = filepath.Dir(store)
		free, err = freeBytes(store)
	}
	return free, err
}

func freeBytes(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}
