package updates

import (
	"context"
	"slices"
	"testing"

	"ferry/internal/cmdline"
	"ferry/internal/flake"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/timers"
	"ferry/internal/ui"
)

// fleetOf is a flake that says this.
type fleetOf flake.Fleet

func (f fleetOf) Fleet(context.Context, flake.Source) (flake.Fleet, []string, error) {
	return flake.Fleet(f), nil, nil
}

// What the flake says of a host's VMs is stored for its timer, which has no flake;
// what the command line says counts more, and the runs use it.
func TestTimersKnowTheirTargets(t *testing.T) {
	server, other := microvm.Address{User: "root", Host: "server"}, microvm.Address{Host: "other"}
	at := func(host string) *microvm.Address { return &microvm.Address{User: "root", Host: host} }
	m := &manage.Manager{Report: ui.New(t.Output(), t.Output(), false), Source: flake.Source{Ref: "git+https://flake"}, Fleets: fleetOf{
		Hosts: map[string]flake.Host{"h": {Address: server}, "o": {Address: other}},
		VMs: map[microvm.Name]flake.VM{
			"web": {Host: "h", Target: at("web"), TargetSudo: true}, "db": {Host: "h", Target: at("db")},
			"none": {Host: "h"}, "far": {Host: "o", Target: at("far")},
		},
	}}
	for name, c := range map[string]struct {
		vms, want, sudo []string
		named           guestAddress
	}{
		"all":   {nil, []string{"db=root@db", "web=root@web"}, []string{"web"}, guestAddress{}},
		"some":  {[]string{"db", "far"}, []string{"db=root@db"}, nil, guestAddress{}},
		"named": {[]string{"web"}, []string{"web=me@elsewhere"}, nil, guestAddress{address: "me@elsewhere"}},
	} {
		u := timers.Update{VMs: c.vms, FromFlake: true}
		if err := c.named.into(&u); err != nil {
			t.Fatal(err)
		}
		addTargets(t.Context(), m, manage.Place{Address: server}, &u)
		if !slices.Equal(u.Target, c.want) || !slices.Equal(u.TargetSudo, c.sudo) {
			t.Errorf("%s: %q, sudo in %q", name, u.Target, u.TargetSudo)
		}
		o, _, err := timedUpdate(&u)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []microvm.Name{"web", "db", "far"} {
			req, err := o.request(n)
			target, sudo := u.TargetOf(n)
			if err != nil || (req.Target == nil) != (target == nil) || target != nil && *req.Target != *target || req.TargetSudo != sudo {
				t.Errorf("%s: the run of %s goes to %v, %t", name, n, req.Target, req.TargetSudo)
			}
		}
	}
	for _, bad := range []struct {
		g   guestAddress
		vms []string
	}{{guestAddress{sudo: true}, []string{"web"}}, {guestAddress{address: "a"}, nil}, {guestAddress{address: "a"}, []string{"a", "b"}}, {guestAddress{address: "local"}, []string{"a"}}} {
		if err := bad.g.into(&timers.Update{VMs: bad.vms}); cmdline.ExitCode(err) != 2 {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
