//go:build lab

package main

import (
	"context"

	"ferry/internal/guest"
	"ferry/internal/host/step"
)

// connectionFrozen stops every connection of the machine: nothing arrives, nothing
// is sent and nothing closes. Only new connections are served.
var connectionFrozen = fault{name: "connection frozen", inflict: func(ctx context.Context, s *subject, h held) error {
	if _, err := s.on(ctx, h.where, stopScript); err != nil {
		return err
	}
	return s.letGo(ctx, h.where)
}}

// impatient has the operator's ssh notice within seconds that nothing comes any more.
var impatient = []string{"NIX_SSHOPTS=-o ServerAliveInterval=1 -o ServerAliveCountMax=3"}

// hasty are arguments for a deployment whose guest will not be seen in time.
func hasty(w *way) []string {
	if w == &vanished || w.target == "" {
		return nil
	}
	return []string{"--confirm-timeout=10s"}
}

// frozenTrials freeze the connection at every step. It stays frozen until ferry has
// ended, and is then closed as a network that forgets it would.
func frozenTrials() []trial {
	var trials []trial
	add := func(w *way, step string, where place, unnoted bool) {
		t := trial{
			way: w, step: step, where: where, fault: connectionFrozen, unnoted: unnoted, env: impatient, args: hasty(w),
			once: w == &vanished, // as the other faults of this step
			after: func(ctx context.Context, s *subject) error {
				_, err := s.on(ctx, where, cutScript)
				return err
			},
		}
		trials = append(trials, t)
	}
	for _, st := range step.All() {
		add(wayTo(st), string(st), onHost, noteless(st))
	}
	for _, st := range guest.Steps() {
		add(wayInto(st), string(st), inGuest, false)
	}
	return trials
}

// stopScript freezes every SSH connection of the machine.
const stopScript = `for p in /proc/[0-9]*; do
	read -r comm <"$p/comm" 2>/dev/null && [ "$comm" = sshd-session ] && kill -s STOP "${p#/proc/}"
done
:`
