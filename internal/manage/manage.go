package manage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ferry/internal/deploy/request"
	"ferry/internal/flake"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// Reporter is told how a command goes.
type Reporter interface {
	Step(subject, format string, args ...any)
	Detail(subject, format string, args ...any)
	Warn(format string, args ...any)
}

// Fleets yields the flake's `ferry` output.
type Fleets interface {
	Fleet(ctx context.Context, src flake.Source) (flake.Fleet, []string, error)
}

// Manager has what all commands of a run share. It is not for concurrent use,
// but the Hosts that it connects to are.
type Manager struct {
	Report Reporter
	Fleets Fleets
	// Source is the flake that is asked where a name has to be looked up, and
	// only then, at most once. An empty Ref means ".".
	Source flake.Source
	// SocketDir is remote.NewSocketDir's.
	SocketDir   string
	AskPassword func(prompt string) (string, error) // nil: no terminal

	fleet    flake.Fleet
	fleetErr error
	asked    bool
}

// Place is a host and how to become root there.
type Place struct {
	Name    string // its name in ferry.hosts; empty where it was given by address
	Address microvm.Address
	Sudo    bool
}

func (p Place) String() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Address.String()
}

// Fleet is the flake's `ferry` output, evaluated at the first call.
func (m *Manager) Fleet(ctx context.Context) (flake.Fleet, error) {
	if !m.asked {
		var warnings []string
		m.fleet, warnings, m.fleetErr = m.Fleets.Fleet(ctx, m.Source)
		for _, w := range warnings {
			m.Report.Warn("%s", w)
		}
		m.asked = true
	}
	return m.fleet, m.fleetErr
}

// Place finds the host that the user named: `local`, an address, or a name of
// ferry.hosts in the flake. A single word may be both a name and an alias of
// ssh_config: the flake's name wins. Where no flake is at hand, or it can't be
// evaluated, the word is an address. The error is a *request.UsageError.
func (m *Manager) Place(ctx context.Context, word string, sudo bool) (Place, error) {
	address, err := microvm.ParseAddress(word)
	if err != nil {
		return Place{}, &request.UsageError{Message: err.Error(), Next: "a host is [user@]host, an alias of ssh_config, a name of ferry.hosts, or local"}
	}
	if address.Local || address.User != "" || address.Port != 0 || !m.hasFlake() {
		return Place{Address: address, Sudo: sudo}, nil
	}
	fleet, err := m.Fleet(ctx)
	if ctx.Err() != nil {
		return Place{}, remote.Interrupted(ctx, "")
	}
	if err != nil {
		m.Report.Warn("%s is taken as an address, since the flake could not be asked: %s", word, firstLine(err.Error()))
	}
	if h, ok := fleet.Hosts[word]; ok {
		return Place{Name: word, Address: h.Address, Sudo: sudo || h.Sudo}, nil
	}
	return Place{Address: address, Sudo: sudo}, nil
}

// PlaceOf finds the host of a VM: the one that the user named, else the one that
// the flake's `ferry` output assigns to it.
func (m *Manager) PlaceOf(ctx context.Context, vm microvm.Name, word string, sudo bool) (Place, error) {
	if word != "" {
		return m.Place(ctx, word, sudo)
	}
	unknown := &request.UsageError{
		Message: fmt.Sprintf("the host of %s is not known", vm),
		Next:    fmt.Sprintf("name it (--host root@server) or set ferry.vms.%s.host and ferry.hosts in the flake", vm.Attribute()),
	}
	if !m.hasFlake() {
		return Place{}, unknown
	}
	fleet, err := m.Fleet(ctx)
	if err != nil {
		return Place{}, fmt.Errorf("looking for the host of %s: %w", vm, err)
	}
	h, ok := fleet.HostOf(vm)
	if !ok {
		return Place{}, unknown
	}
	return Place{Name: fleet.VMs[vm].Host, Address: h.Address, Sudo: sudo || h.Sudo}, nil
}

// HasFlake reports whether there is a flake to ask for names.
func (m *Manager) HasFlake() bool { return m.hasFlake() }

// hasFlake reports whether the flake is worth asking: without a `--flake`, there
// must be a flake.nix in this directory or one above, as Nix looks for it.
func (m *Manager) hasFlake() bool {
	if m.Source.Ref != "" && m.Source.Ref != "." {
		return true
	}
	dir, err := os.Getwd()
	if err != nil {
		return false
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "flake.nix")); err == nil {
			return true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false
		}
		dir = parent
	}
}

// Connect logs in to a host. Close the Host when done.
func (m *Manager) Connect(ctx context.Context, p Place) (*Host, error) {
	conn, err := remote.Dial(ctx, remote.Options{
		Address: p.Address, Sudo: p.Sudo, Dir: m.SocketDir, AskPassword: m.AskPassword,
	})
	if err != nil {
		return nil, err
	}
	return &Host{Place: p, conn: conn, report: m.Report, open: hostclient.Open}, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
