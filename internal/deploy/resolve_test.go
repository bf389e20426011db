package deploy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/flake"
	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// What the command line leaves open comes from the flake, and what both leave open
// has its default.
func TestResolve(t *testing.T) {
	other := microvm.Address{Host: "other"}
	local := microvm.BuildPlace{Local: true}
	fleet := flake.Fleet{
		Hosts: map[string]flake.Host{"h": {Address: host1, Sudo: true}},
		VMs: map[microvm.Name]flake.VM{"web": {
			Host: "h", Target: &web, TargetSudo: true, Restart: "never", UpdateFlake: "git+https://a", BuildOn: &local,
			Health: &flake.Health{Checks: health.Checks{TCP: []string{"web:1"}}, Command: "true", Timeout: time.Minute},
		}},
	}
	ofFlake := Resolved{
		Attribute: "web", Name: "web", Host: &host1, HostSudo: true, Target: &web, TargetSudo: true,
		Restart: hostapi.RestartNever, UpdateFlake: "git+https://a", Place: local,
		Confirm: Confirm{Checks: health.Checks{TCP: []string{"web:1"}}, Command: "true", Timeout: time.Minute},
	}
	change := func(r Resolved, f func(*Resolved)) Resolved { f(&r); return r }
	for _, c := range []struct {
		name  string
		req   Request
		fleet flake.Fleet
		want  Resolved
	}{
		{"nothing", Request{Attribute: "web"}, flake.Fleet{}, Resolved{Attribute: "web", Name: "web", Restart: hostapi.RestartAuto}},
		{"the flake", Request{Attribute: "web"}, fleet, ofFlake},
		{"another VM's", Request{Attribute: "db"}, fleet, Resolved{Attribute: "db", Name: "db", Restart: hostapi.RestartAuto}},
		{"a name on the host", Request{Attribute: "web", Name: "www"}, fleet, change(ofFlake, func(r *Resolved) { r.Name = "www" })},
		{
			"addresses, whose sudo counts alone", Request{Attribute: "web", Host: &other, Target: &other}, fleet,
			change(ofFlake, func(r *Resolved) { r.Host, r.HostSudo, r.Target, r.TargetSudo = &other, false, &other, false }),
		},
		{
			"sudo beside the flake's addresses", Request{Attribute: "web", HostSudo: true}, flake.Fleet{Hosts: map[string]flake.Host{"h": {Address: host1}}, VMs: map[microvm.Name]flake.VM{"web": {Host: "h"}}},
			Resolved{Attribute: "web", Name: "web", Host: &host1, HostSudo: true, Restart: hostapi.RestartAuto},
		},
		{
			"policies", Request{Attribute: "web", Restart: hostapi.RestartAlways, UpdateFlake: "git+https://b", Confirm: Confirm{Command: "false"}}, fleet,
			change(ofFlake, func(r *Resolved) {
				r.Restart, r.UpdateFlake, r.Confirm.Command = hostapi.RestartAlways, "git+https://b", "false"
			}),
		},
		{
			"evaluated on the host, so built there", Request{Attribute: "web", Building: Building{EvalOnHost: true}}, fleet,
			change(ofFlake, func(r *Resolved) { r.EvalOnHost, r.Place = true, microvm.BuildPlace{} }),
		},
		{
			"a dry run leaves nothing on the host", Request{Attribute: "web", DryRun: true, Building: Building{EvalOnHost: true}}, fleet,
			change(ofFlake, func(r *Resolved) { r.DryRun = true }),
		},
	} {
		if diff := cmp.Diff(c.want, resolve(c.req, c.fleet)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
