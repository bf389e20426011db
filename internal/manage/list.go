package manage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ferry/internal/deploy"
	"ferry/internal/deploy/request"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

const (
	maxHosts       = 8 // asked at once
	maxEvaluations = 4 // at once: each may take gigabytes of memory
)

// VM is one VM of a host, as `ferry list --json` prints it.
type VM struct {
	Host string `json:"host"`
	hostapi.Listed
}

// ListRequest says what to list.
type ListRequest struct {
	Places []Place
	// Check compares with what the VMs' flakes evaluate to: the operator's for
	// those that its `ferry` output assigns to the host, else the one that the
	// VM's `flake` file names, on the host.
	Check    bool
	Evaluate deploy.Evaluator
	// Here lists this machine, in this process: that needs no root.
	Here func(ctx context.Context, check bool, except []string) ([]hostapi.Listed, error)
}

// HostsError says that some hosts could not be asked.
type HostsError struct {
	Failed []string
	Done   int
	Err    error // of the first
}

func (e *HostsError) Error() string {
	return fmt.Sprintf("%d of %d hosts could not be asked: %s", len(e.Failed), len(e.Failed)+e.Done, strings.Join(e.Failed, ", "))
}

// Unwrap gives the error of the first host that failed, unless others are done.
func (e *HostsError) Unwrap() error {
	if e.Done > 0 {
		return nil
	}
	return e.Err
}

// PlacesOf finds the hosts that the user named, or without a name all of the
// flake's ferry.hosts.
func (m *Manager) PlacesOf(ctx context.Context, words []string, sudo bool) ([]Place, error) {
	var places []Place
	for _, w := range words {
		p, err := m.Place(ctx, w, sudo)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	if len(words) > 0 {
		return places, nil
	}
	unknown := &request.UsageError{Message: "no host is named, and the flake names none", Next: "name one (root@server, or local), or set ferry.hosts in the flake"}
	if !m.hasFlake() {
		return nil, unknown
	}
	fleet, err := m.Fleet(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for the hosts: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(fleet.Hosts)) {
		h := fleet.Hosts[name]
		places = append(places, Place{Name: name, Address: h.Address, Sudo: sudo || h.Sudo})
	}
	if len(places) == 0 {
		return nil, unknown
	}
	return places, nil
}

// List asks the hosts, several at once. A host that can't be asked does not keep
// the others from being listed: problem is told of it, and the error is a
// *HostsError in the end.
func (m *Manager) List(ctx context.Context, req ListRequest, problem func(host string, err error)) ([]VM, error) {
	lists := make([][]VM, len(req.Places))
	errs := make([]error, len(req.Places))
	ours := make([][]microvm.Name, len(req.Places))
	if req.Check && m.hasFlake() {
		if _, err := m.Fleet(ctx); err != nil {
			m.Report.Warn("VMs are compared with their own `flake` files only, since the flake here could not be asked: %s", firstLine(err.Error()))
		}
		for i, p := range req.Places {
			ours[i] = m.ours(p)
		}
	}
	var group errgroup.Group
	group.SetLimit(maxHosts)
	for i, p := range req.Places {
		group.Go(func() error {
			lists[i], errs[i] = m.listHost(ctx, p, req, ours[i])
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil {
		return nil, remote.Interrupted(ctx, "")
	}
	failed := &HostsError{}
	for i, err := range errs {
		if err == nil {
			failed.Done++
			continue
		}
		failed.Failed = append(failed.Failed, req.Places[i].String())
		failed.Err = cmp.Or(failed.Err, err)
		if len(req.Places) == 1 {
			return nil, err
		}
		problem(req.Places[i].String(), err)
	}
	if req.Check {
		m.evaluate(ctx, req, lists, ours)
	}
	all := slices.Concat(lists...)
	if len(failed.Failed) > 0 {
		return all, failed
	}
	if ctx.Err() != nil {
		return all, remote.Interrupted(ctx, "")
	}
	return all, nil
}

// ours are the VMs that the operator's flake assigns to a place. The flake has
// been asked already; a host given by address is compared by that.
func (m *Manager) ours(p Place) []microvm.Name {
	var names []microvm.Name
	for n, vm := range m.fleet.VMs {
		h, ok := m.fleet.Hosts[vm.Host]
		if ok && (vm.Host == p.Name || p.Name == "" && h.Address == p.Address) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func (m *Manager) listHost(ctx context.Context, p Place, req ListRequest, ours []microvm.Name) ([]VM, error) {
	var except []string
	for _, n := range ours {
		except = append(except, string(n))
	}
	var vms []VM
	if p.Address.Local && !p.Sudo {
		listed, err := req.Here(ctx, req.Check, except)
		for _, v := range listed {
			vms = append(vms, VM{Host: p.String(), Listed: v})
		}
		return vms, err
	}
	h, err := m.Connect(ctx, p)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	wanted := hostapi.ListRequest{Check: req.Check}
	if req.Check {
		wanted.Except = except
	}
	err = h.List(ctx, wanted, func(v hostapi.Listed) error {
		vms = append(vms, VM{Host: p.String(), Listed: v})
		return nil
	})
	return vms, err
}

// evaluate compares the VMs of the operator's flake with what it yields.
func (m *Manager) evaluate(ctx context.Context, req ListRequest, lists [][]VM, ours [][]microvm.Name) {
	var group errgroup.Group
	group.SetLimit(maxEvaluations)
	for i := range lists {
		for j := range lists[i] {
			v := &lists[i][j].Listed
			if !slices.Contains(ours[i], microvm.Name(v.Name)) {
				continue
			}
			group.Go(func() error {
				eval, err := req.Evaluate.Evaluate(ctx, m.Source, microvm.Name(v.Name))
				var unknown *flake.UnknownVMError
				switch {
				case errors.As(err, &unknown):
					v.CheckError = "the flake has no configuration of this name"
				case err != nil:
					v.CheckError = err.Error()
				default:
					v.Compare(eval.Record)
					return nil
				}
				v.Fresh = hostapi.FreshUnknown
				return nil
			})
		}
	}
	_ = group.Wait()
}
