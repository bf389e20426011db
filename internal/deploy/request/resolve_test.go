package request

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/flake"
	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

var (
	host1 = microvm.Address{User: "root", Host: "host1"}
	web   = microvm.Address{User: "root", Host: "web"}
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
		req   Deploy
		fleet flake.Fleet
		want  Resolved
	}{
		{"nothing", Deploy{Attribute: "web"}, flake.Fleet{}, Resolved{Attribute: "web", Name: "web", Restart: hostapi.RestartAuto}},
		{"the flake", Deploy{Attribute: "web"}, fleet, ofFlake},
		{"another VM's", Deploy{Attribute: "db"}, fleet, Resolved{Attribute: "db", Name: "db", Restart: hostapi.RestartAuto}},
		{"a name on the host", Deploy{Attribute: "web", Name: "www"}, fleet, change(ofFlake, func(r *Resolved) { r.Name = "www" })},
		{
			"addresses, whose sudo counts alone", Deploy{Attribute: "web", Host: &other, Target: &other}, fleet,
			change(ofFlake, func(r *Resolved) { r.Host, r.HostSudo, r.Target, r.TargetSudo = &other, false, &other, false }),
		},
		{
			"sudo beside the flake's addresses", Deploy{Attribute: "web", HostSudo: true}, flake.Fleet{Hosts: map[string]flake.Host{"h": {Address: host1}}, VMs: map[microvm.Name]flake.VM{"web": {Host: "h"}}},
			Resolved{Attribute: "web", Name: "web", Host: &host1, HostSudo: true, Restart: hostapi.RestartAuto},
		},
		{
			"policies", Deploy{Attribute: "web", Restart: hostapi.RestartAlways, UpdateFlake: "git+https://b", Confirm: Confirm{Command: "false"}}, fleet,
			change(ofFlake, func(r *Resolved) {
				r.Restart, r.UpdateFlake, r.Confirm.Command = hostapi.RestartAlways, "git+https://b", "false"
			}),
		},
		{
			"evaluated on the host, so built there", Deploy{Attribute: "web", Building: Building{EvalOnHost: true}}, fleet,
			change(ofFlake, func(r *Resolved) { r.EvalOnHost, r.Place = true, microvm.BuildPlace{} }),
		},
		{
			"a dry run leaves nothing on the host", Deploy{Attribute: "web", DryRun: true, Building: Building{EvalOnHost: true}}, fleet,
			change(ofFlake, func(r *Resolved) { r.DryRun = true }),
		},
	} {
		if diff := cmp.Diff(c.want, Resolve(c.req, c.fleet)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// What a host has recorded of the guest's address is a hint, on the host itself the
// operator's own record; a known target stays, and nothing else is an address.
func TestRecordedTarget(t *testing.T) {
	r := Resolved{Host: &host1}
	got, err := r.WithRecorded("root@web", true)
	if err != nil || got.Target != nil || got.Recorded || got.Hint == nil || !got.Intent().TargetKnown {
		t.Errorf("elsewhere: %+v, %v", got, err)
	}
	if got = got.Hinted(); *got.Target != web || !got.TargetSudo || !got.Recorded {
		t.Errorf("confirmed: %+v", got)
	}
	here := Resolved{Host: &microvm.Address{Local: true}}
	if got, err := here.WithRecorded("root@web", true); err != nil || *got.Target != web || !got.TargetSudo || !got.Recorded {
		t.Errorf("here: %+v, %v", got, err)
	}
	if got, err := got.WithRecorded("root@bait", true); err != nil || *got.Target != web {
		t.Errorf("a known target was replaced: %+v, %v", got, err)
	}
	for _, bad := range []string{"local", "-oProxyCommand=x", "a b"} {
		if got, err := r.WithRecorded(bad, false); err == nil || got.Target != nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	if got := got.WithoutTarget(); got.Target != nil {
		t.Errorf("still %v", got.Target)
	}
}
