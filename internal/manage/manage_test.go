package manage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"ferry/internal/deploy/request"
	"ferry/internal/flake"
	"ferry/internal/microvm"
)

// reports collects what is said.
type reports struct{ steps, details, warnings []string }

func (r *reports) Step(subject, format string, args ...any) {
	r.steps = append(r.steps, subject+": "+fmt.Sprintf(format, args...))
}
func (r *reports) Detail(subject, format string, args ...any) {
	r.details = append(r.details, fmt.Sprintf(format, args...))
}
func (r *reports) Warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// fleets is a flake that counts how often it is asked.
type fleets struct {
	fleet flake.Fleet
	err   error
	asked int
}

func (f *fleets) Fleet(context.Context, flake.Source) (flake.Fleet, []string, error) {
	f.asked++
	return f.fleet, []string{"a warning"}, f.err
}

func address(t *testing.T, s string) microvm.Address {
	t.Helper()
	a, err := microvm.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		word, want string
		sudo       bool
		asked      int
	}{
		{"local", "local", false, 0},
		{"root@other", "root@other", false, 0},
		{"ssh://other:2222", "ssh://other:2222", false, 0},
		{"server1", "ops@server1.example.com", true, 1}, // a name wins over an alias
		{"alias", "alias", false, 1},
	} {
		f := &fleets{fleet: flake.Fleet{Hosts: map[string]flake.Host{"server1": {Address: address(t, "ops@server1.example.com"), Sudo: true}}}}
		m := &Manager{Report: &reports{}, Fleets: f, Source: flake.Source{Ref: "/infra"}}
		for range 2 { // the flake is asked once
			p, err := m.Place(t.Context(), c.word, false)
			if err != nil || p.Address != address(t, c.want) || p.Sudo != c.sudo || f.asked != c.asked {
				t.Errorf("%s: %+v, %v, asked %d times", c.word, p, err, f.asked)
			}
		}
		if p, _ := m.Place(t.Context(), c.word, true); !p.Sudo {
			t.Errorf("%s: --host-sudo is lost", c.word)
		}
	}
}

// A flake that can't be evaluated doesn't stand in the way of an address; where
// there is none, nothing is evaluated.
func TestPlaceWithoutFlake(t *testing.T) {
	r := &reports{}
	m := &Manager{Report: r, Fleets: &fleets{err: errors.New("broken\nmuch more")}, Source: flake.Source{Ref: "/infra"}}
	if p, err := m.Place(t.Context(), "alias", false); err != nil || p.Address.Host != "alias" {
		t.Errorf("%+v, %v", p, err)
	}
	if len(r.warnings) != 2 || !strings.HasSuffix(r.warnings[1], ": broken") {
		t.Errorf("warnings %q", r.warnings)
	}
	t.Chdir(t.TempDir())
	f := &fleets{}
	m = &Manager{Report: r, Fleets: f, Source: flake.Source{Ref: "."}}
	if _, err := m.Place(t.Context(), "alias", false); err != nil || f.asked != 0 {
		t.Errorf("%v, asked %d times", err, f.asked)
	}
	var usage *request.UsageError
	if _, err := m.PlaceOf(t.Context(), "web", "", false); !errors.As(err, &usage) || f.asked != 0 {
		t.Errorf("the host of a VM: %v", err)
	}
	if _, err := m.Place(t.Context(), "-oProxyCommand=x", false); !errors.As(err, &usage) {
		t.Errorf("an option: %v", err)
	}
	if err := os.WriteFile("flake.nix", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("below", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir("below")
	if _, err := m.Place(t.Context(), "alias", false); err != nil || f.asked != 1 {
		t.Errorf("below a flake: %v, asked %d times", err, f.asked)
	}
}

func TestPlaceOf(t *testing.T) {
	target := address(t, "root@web")
	f := &fleets{fleet: flake.Fleet{
		Hosts: map[string]flake.Host{"server1": {Address: address(t, "root@server1")}},
		VMs:   map[microvm.Name]flake.VM{"web": {Host: "server1", Target: &target, TargetSudo: true}, "lone": {}},
	}}
	m := &Manager{Report: &reports{}, Fleets: f, Source: flake.Source{Ref: "/infra"}}
	if p, err := m.PlaceOf(t.Context(), "web", "", false); err != nil || p.String() != "server1" || p.Address.Host != "server1" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := m.PlaceOf(t.Context(), "web", "root@other", false); err != nil || p.String() != "root@other" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, vm := range []microvm.Name{"lone", "unknown"} {
		var usage *request.UsageError
		if _, err := m.PlaceOf(t.Context(), vm, "", false); !errors.As(err, &usage) || !strings.Contains(usage.Next, "ferry.vms."+string(vm)) {
			t.Errorf("%s: %v", vm, err)
		}
	}
	if vm := m.VM(t.Context(), "web"); vm.Target == nil || *vm.Target != target || !vm.TargetSudo {
		t.Errorf("the flake says %+v", vm)
	}
	if vm := m.VM(t.Context(), "unknown"); vm.Target != nil {
		t.Errorf("the flake says %+v", vm)
	}
}
