package setup

import (
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/nix"
)

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(m machine)
		want  string
	}{
		"old systemd":      {func(m machine) { m.sys.systemd = "241 (241-7)" }, "has systemd 241"},
		"no Nix":           {func(m machine) { m.sys.nixErr = nix.ErrNoNix }, "nix was not found"},
		"old Nix":          {func(m machine) { m.sys.nix = nix.Version{Major: 2, Minor: 8} }, "has Nix 2.8"},
		"somebody's unit":  {func(m machine) { m.put(unitDir+"/microvm-virtiofsd@.service", "mine") }, "in the way: /etc/systemd/system/microvm-virtiofsd@.service"},
		"a file for a dir": {func(m machine) { m.put(stateDir, "") }, "is not a directory"},
		"newer manifest":   {func(m machine) { m.put(manifestPath, `{"version": 99}`) }, "version 99"},
	} {
		t.Run(name, func(t *testing.T) {
			m := bare(t)
			c.spoil(m)
			before := m.tree()
			r, err := m.Apply(t.Context(), false)
			if err == nil || !strings.Contains(err.Error(), c.want) || !hostapi.IsRefused(err) {
				t.Errorf("%+v, %v", r, err)
			}
			if m.tree() != before {
				t.Error("something was changed")
			}
		})
	}
}

// NixOS and other people's units are left alone.
func TestLeavesOthersAlone(t *testing.T) {
	for name, c := range map[string]struct {
		make func(m machine)
		want Outcome
		nix  bool // what is advised
	}{
		"NixOS":            {func(m machine) { m.put("/etc/NIXOS", "") }, OutcomeNixOS, true},
		"NixOS by name":    {func(m machine) { m.put("/etc/os-release", "NAME=NixOS\nID=nixos\n") }, OutcomeNixOS, true},
		"NixOS with units": {func(m machine) { m.put("/etc/NIXOS", ""); m.sys.unitFile = "/etc/static/x" }, OutcomeOther, true},
		"units elsewhere":  {func(m machine) { m.sys.unitFile = "/usr/lib/systemd/system/microvm@.service" }, OutcomeOther, false},
		"units in /etc": {func(m machine) {
			m.sys.unitFile = unitDir + "/microvm@.service"
			m.put(m.sys.unitFile, "[Service]\nExecStart=/bin/true\n")
		}, OutcomeOther, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := bare(t)
			c.make(m)
			before := m.tree()
			r, err := m.Apply(t.Context(), false)
			if err != nil || r.Outcome != c.want || strings.Contains(r.Advice, "microvm.nixosModules.host") != c.nix ||
				strings.Contains(r.Advice, "ferry.nixosModules.host") != c.nix {
				t.Errorf("%+v, %v", r, err)
			}
			if m.tree() != before {
				t.Error("something was changed")
			}
		})
	}
}
