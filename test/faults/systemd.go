//go:build lab

package main

import (
	"context"
	"fmt"

	"ferry/internal/host/step"
)

// systemdTrials are those in which the host's systemd works against a deployment.
func systemdTrials() []trial {
	reexecuted := fault{name: "systemd executes itself", inflict: func(ctx context.Context, s *subject, h held) error {
		if _, err := s.on(ctx, onHost, `systemctl daemon-reexec`); err != nil {
			return err
		}
		return s.letGo(ctx, h.where)
	}}
	var trials []trial
	for _, st := range []step.Step{step.Current, step.Restart, step.Check, step.Await, step.UndoLink, step.UndoUnit} {
		trials = append(trials, trial{way: wayTo(st), step: string(st), where: onHost, fault: hostRebooted, args: hasty(wayTo(st))})
	}
	for _, st := range []step.Step{step.Restart, step.Check, step.Await, step.UndoUnit} {
		ends := "B"
		if wayTo(st).bad != nil {
			ends = "A"
		}
		trials = append(trials, trial{way: wayTo(st), step: string(st), where: onHost, fault: reexecuted, ends: ends})
	}
	return append(trials, stoppedTrial())
}

// stoppedTrial stops the VM when the time for the operator's answer is over and the
// guard has not come to it: what undoes the deployment then must not start it.
func stoppedTrial() trial {
	return trial{
		way: &answered, step: string(step.Await), where: onHost, ends: "A", down: true, args: []string{"--confirm-timeout=3s"},
		fault: fault{name: "stopped before the guard", killsFerry: true, inflict: func(ctx context.Context, s *subject, h held) error {
			// The operator is there, and mute, until it is noted that an answer is awaited.
			if _, err := s.on(ctx, onHost, stopScript+"\nsystemctl kill --signal=STOP 'ferry-guard-*'"); err != nil {
				return err
			}
			if err := s.letGo(ctx, h.where); err != nil {
				return err
			}
			if _, err := s.on(ctx, onHost, awaitedScript, s.name); err != nil {
				return err
			}
			if err := s.signalFerry(ctx, "KILL"); err != nil {
				return err
			}
			if _, err := s.on(ctx, onHost, cutScript); err != nil {
				return err
			}
			if _, err := s.on(ctx, onHost, overdueScript, s.name); err != nil {
				return err
			}
			if r := s.ferry(ctx, "stop", s.name, "--host", "root@"+s.host.Name); r.code != 0 {
				return fmt.Errorf("ferry stop: %s", r)
			}
			_, err := s.on(ctx, onHost, `systemctl kill --signal=CONT 'ferry-guard-*' || :`) // the stop may have ended it
			return err
		}},
	}
}

// awaitedScript waits until the operator's answer is awaited, overdueScript until it
// would come too late and nobody has the VM's lock.
const (
	awaitedScript = `until grep -q '"phase": *"await"' "/var/lib/ferry/vms/$1/deployment.json"; do sleep 0.1; done`
	overdueScript = `deadline=$(sed -n 's/.*"deadlineSince": *\([0-9]*\).*/\1/p' "/var/lib/ferry/vms/$1/deployment.json")
[ -n "$deadline" ] || exit 1
until read -r up _ </proc/uptime && [ "${up%.*}" -gt $((deadline / 1000000000)) ]; do sleep 0.1; done
until flock -n "/var/lib/ferry/locks/$1" true; do sleep 0.1; done`
)
