//go:build lab

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry/internal/lab"
)

// place is where a step is taken, and so where it is held.
type place int

const (
	nowhere place = iota // nothing is held
	onHost
	inGuest
)

// held is a process that waits before a step.
type held struct {
	where place
	pid   string
}

// fault is what happens to a deployment.
type fault struct {
	name    string
	inflict func(ctx context.Context, s *subject, h held) error
	// killsFerry: the operator's ferry can't say how it ended. interrupts: it is
	// told to end.
	killsFerry, interrupts bool
	killsHost              bool
}

// The faults that every step is tried with.
var (
	helperKilled = fault{name: "helper killed", inflict: killHeld}
	scriptKilled = fault{name: "script killed", inflict: killHeld}

	hostKilled = fault{name: "host killed", killsHost: true, inflict: func(ctx context.Context, s *subject, _ held) error {
		if s.way.machine == container { // a VM dies with its host
			if err := s.guest.Kill(ctx); err != nil {
				return err
			}
		}
		if err := s.host.Kill(ctx); err != nil {
			return err
		}
		return s.host.Start(ctx)
	}}
	// The shutdown tells everybody to end before it kills them.
	hostRebooted = fault{name: "host rebooted", killsHost: true, inflict: func(ctx context.Context, s *subject, _ held) error {
		// Who is held goes on when the shutdown has begun, which may end this script.
		_, cut := s.on(ctx, onHost, `systemctl reboot && until [ "$(systemctl is-system-running)" = stopping ]; do sleep 0.05; done; rm -f /run/ferry-hold`)
		err := until(ctx, time.Minute, func() error {
			if s.host.Running() {
				return fmt.Errorf("%s does not go down (%w)", s.host.Name, cut)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if s.way.machine == container {
			if err := s.guest.Kill(ctx); err != nil {
				return err
			}
		}
		return s.host.Start(ctx)
	}}
	guestKilled = fault{name: "guest killed", inflict: func(ctx context.Context, s *subject, _ held) error {
		if s.way.machine == container {
			if err := s.guest.Kill(ctx); err != nil {
				return err
			}
		}
		_, err := s.on(ctx, onHost, `systemctl kill --kill-whom=main --signal=KILL "microvm@$1"`, s.name)
		return err
	}}
	connectionCut = fault{name: "connection cut", inflict: func(ctx context.Context, s *subject, h held) error {
		out, err := s.on(ctx, h.where, cutScript)
		if err == nil && out == "" {
			err = errors.New("there is no connection to cut")
		}
		if err != nil && s.way.machine != qemu { // whose own connection is among them
			return err
		}
		return s.letGo(ctx, h.where)
	}}
)

func killHeld(ctx context.Context, s *subject, h held) error {
	_, err := s.on(ctx, h.where, `kill -s KILL "$1" && rm -f /run/ferry-hold`, h.pid)
	return err
}

// cutScript kills every SSH connection of the machine, as a firewall that forgets
// them would, and prints which.
const cutScript = `trap '' HUP
all=$(for p in /proc/[0-9]*; do
	read -r comm <"$p/comm" 2>/dev/null && [ "$comm" = sshd-session ] && echo "${p#/proc/}"
done)
echo $all
kill -s KILL $all
exit 0`

// on runs a script where a step is held: in the guest's container or on the host
// itself, and in QEMU by SSH.
func (s *subject) on(ctx context.Context, where place, script string, args ...string) (string, error) {
	m, argv := s.host, slices.Concat([]string{"sh", "-s"}, args)
	if where == inGuest {
		if m = s.guest; s.way.machine == qemu {
			m, argv = s.operator, slices.Concat([]string{"ssh", "-o", "BatchMode=yes", "root@" + s.way.target}, argv)
		}
	}
	var out bytes.Buffer
	err := m.Run(ctx, lab.Cmd{Args: argv, Stdin: strings.NewReader(script), Stdout: &out})
	return strings.TrimSpace(out.String()), err
}

// hold has ferry stop before a step.
func (s *subject) hold(ctx context.Context, where place, step string) error {
	_, err := s.on(ctx, where, `rm -f /run/ferry-held && echo "$1" >/run/ferry-hold`, step)
	return err
}

// awaitHeld waits until somebody is held.
func (s *subject) awaitHeld(ctx context.Context, where place) (held, error) {
	out, err := s.on(ctx, where, `until grep -q . /run/ferry-held; do sleep 0.1; done 2>/dev/null; cat /run/ferry-held`)
	if err != nil {
		return held{}, err
	}
	_, pid, ok := strings.Cut(out, " ")
	if !ok {
		return held{}, fmt.Errorf("who is held: %q", out)
	}
	return held{where: where, pid: pid}, nil
}

func (s *subject) letGo(ctx context.Context, where place) error {
	_, err := s.on(ctx, where, `rm -f /run/ferry-hold /run/ferry-held`)
	return err
}
