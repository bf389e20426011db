//go:build lab

package main

import (
	"context"
	"fmt"

	"ferry/internal/lab"
)

// way is a kind of deployment that faults are tried on.
type way struct {
	name    string
	machine string // what the VM is: process, container or QEMU
	on      string // the only host where it can be; empty: any
	target  string // the guest's address, where it has one
	args    []string
	// module is revision rev of the configuration. bad, where there is one, is what
	// is deployed instead: it can't come up, so that the deployment is undone.
	module, bad func(name string, rev int) string
	onFirst     func(ctx context.Context, s *subject) error
}

// restarted is the plain one: a process VM whose change needs a restart.
var restarted = way{name: "restart", machine: process, module: note}

// undone deploys a runner that ends at once.
var undone = way{name: "undo", machine: process, module: note, bad: func(name string, rev int) string {
	return lab.ProcessVM(name, fmt.Sprintf(`microvm.preStart = "echo revision %d is out of luck; exit 3";`, rev))
}}

func note(name string, rev int) string {
	return lab.ProcessVM(name, fmt.Sprintf(`lab.note = "%d";`, rev))
}

// switched is a live switch: the container guest1 plays the system inside.
var switched = way{
	name: "live", machine: container, on: "host1", target: "box",
	args:    []string{"--confirm-timeout=30s"},
	module:  func(name string, rev int) string { return lab.LiveVM(name, fmt.Sprintf("revision %d", rev)) },
	onFirst: bootContainer,
}

// bootContainer installs the VM, starts its unit and boots the container guest as
// its inside, as a guest with a fresh root file system.
func bootContainer(ctx context.Context, s *subject) error {
	if r := s.ferry(ctx, "install", s.name, "root@"+s.host.Name, "--update-flake", s.flakeRef()); r.code != 0 {
		return fmt.Errorf("the first installation: %s", r)
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.bootGuest(ctx); err != nil {
		return err
	}
	if r := s.ferry(ctx, s.args()...); r.code != 0 {
		return fmt.Errorf("the first run: %s", r)
	}
	return nil
}

// answered is a restart that the operator confirms by logging in to the guest.
var answered = way{
	name: "answer", machine: container, on: "host1", target: "box",
	args:    []string{"--restart=always", "--confirm-timeout=30s"},
	module:  switched.module,
	onFirst: bootContainer,
}

// takenBack is a live switch after which a unit fails.
var takenBack = way{
	name: "live-undo", machine: container, on: "host1", target: "box",
	args:   switched.args,
	module: switched.module,
	bad: func(name string, rev int) string {
		return lab.LiveVM(name, fmt.Sprintf("revision %d", rev), "lab.failingUnit = true;")
	},
	onFirst: bootContainer,
}

// vanished is a live switch whose check takes the guest's network away, which the
// undo does not bring back: the host restarts it as a last resort.
var vanished = way{
	name: "live-gone", machine: container, on: "host1", target: "box",
	args:    []string{"--confirm-timeout=3s", "--check-command=ip link set host0 down; false"},
	module:  switched.module,
	bad:     switched.module,
	onFirst: bootContainer,
}
