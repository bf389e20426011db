//go:build lab

package main

import (
	"context"
	"fmt"
	"strings"
)

// fault is what happens to a deployment that is held before a step.
type fault struct {
	name    string
	inflict func(ctx context.Context, s *subject, held string) error // held: the process id
	// killsFerry: the operator's ferry can't say how it ended.
	killsFerry bool
}

// The faults that every step is tried with.
var (
	helperKilled = fault{name: "helper killed", inflict: func(ctx context.Context, s *subject, held string) error {
		_, err := s.sh(ctx, `kill -s KILL "$1" && rm -f /run/ferry-hold`, held)
		return err
	}}
	hostKilled = fault{name: "host killed", inflict: func(ctx context.Context, s *subject, _ string) error {
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
	connectionCut = fault{name: "connection cut", inflict: func(ctx context.Context, s *subject, _ string) error {
		out, err := s.sh(ctx, cutScript)
		if err == nil && out == "" {
			err = fmt.Errorf("there is no connection to cut")
		}
		if err != nil {
			return err
		}
		_, err = s.sh(ctx, `rm -f /run/ferry-hold`)
		return err
	}}
	operatorKilled = fault{name: "operator killed", killsFerry: true, inflict: func(ctx context.Context, s *subject, _ string) error {
		s.killFerry(ctx)
		_, err := s.sh(ctx, `rm -f /run/ferry-hold`)
		return err
	}}
)

// cutScript kills every SSH connection of the machine, as a firewall that forgets
// them would, and prints which.
const cutScript = `for p in /proc/[0-9]*; do
	read -r comm <"$p/comm" 2>/dev/null || continue
	[ "$comm" = sshd-session ] && echo "${p#/proc/}" && kill -s KILL "${p#/proc/}"
done
exit 0`

// hold has the helper stop before a step of the host.
func (s *subject) hold(ctx context.Context, step string) error {
	_, err := s.sh(ctx, `rm -f /run/ferry-held && echo "$1" >/run/ferry-hold`, step)
	return err
}

// held waits until the helper is held, and returns its process id.
func (s *subject) held(ctx context.Context) (string, error) {
	out, err := s.sh(ctx, `until grep -q . /run/ferry-held 2>/dev/null; do sleep 0.05; done; cat /run/ferry-held`)
	if err != nil {
		return "", err
	}
	_, pid, _ := strings.Cut(out, " ")
	return pid, nil
}

func (s *subject) letGo(ctx context.Context) error {
	_, err := s.sh(ctx, `rm -f /run/ferry-hold /run/ferry-held`)
	return err
}
