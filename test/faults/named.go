//go:build lab

package main

import (
	"context"
	"fmt"
	"slices"

	"ferry/internal/guest"
	"ferry/internal/host/step"
	"ferry/internal/lab"
)

// namedTrials are the faults besides those that every step is tried with.
func namedTrials() []trial {
	return slices.Concat(diskFullTrials(), storeTrials(), operatorTrials(), healthTrials(), guestTrials(),
		frozenTrials(), systemdTrials(), foreignTrials())
}

// building takes two seconds to build, enough to be disturbed.
var building = way{name: "restart", machine: process, module: func(name string, rev int) string {
	return lab.ProcessVM(name, fmt.Sprintf(`environment.systemPackages = [ (packages.run "slow-%[1]s-%[2]d" { } "echo slow-%[1]s; sleep 2; mkdir $out") ];`, name, rev))
}}

// storeTrials take away what is built, or what builds.
func storeTrials() []trial {
	lost := func(which string) func(context.Context, *subject, held) error {
		return func(ctx context.Context, s *subject, h held) error {
			_, err := s.on(ctx, onHost, `nix-store --delete --ignore-liveness "$(readlink "/nix/var/nix/gcroots/ferry/$1/$2")"`, s.name, which)
			if err != nil {
				return err
			}
			return s.letGo(ctx, h.where)
		}
	}
	collected := fault{name: "garbage collected", inflict: func(ctx context.Context, s *subject, h held) error {
		if _, err := s.on(ctx, onHost, `nix-collect-garbage`); err != nil {
			return err
		}
		return s.letGo(ctx, h.where)
	}}
	trials := []trial{
		{way: &building, step: "building", fault: fault{name: "nix killed, as by OOM", inflict: killBuilder}, ends: "A"},
		{way: &restarted, step: string(step.Build), where: onHost, fault: fault{name: "derivation lost", inflict: lost("pending-drv-0")}, ends: "B"},
		{way: &restarted, step: string(step.Profile), where: onHost, fault: fault{name: "new runner lost", inflict: lost("pending")}, ends: "A"},
		{way: &restarted, step: "the way back", fault: fault{name: "`old` lost"}, ends: "B", before: func(ctx context.Context, s *subject) error {
			_, err := s.on(ctx, onHost, `old=$(readlink "/var/lib/microvms/$1/old") || exit 0; nix-store --delete --ignore-liveness "$old"`, s.name)
			return err
		}},
	}
	for _, step := range []step.Step{step.Build, step.Profile, step.Current, step.Restart} {
		trials = append(trials, trial{way: &restarted, step: string(step), where: onHost, fault: collected, ends: "B"})
	}
	return trials
}

// killBuilder kills the Nix that builds, which for the daemon is its worker.
func killBuilder(ctx context.Context, s *subject, _ held) error {
	_, err := s.on(ctx, onHost, `for i in $(seq 600); do
	for pid in $(pgrep -f "^[^ ]*sh .*echo slow-$1;"); do
		read -r _ _ _ parent _ <"/proc/$pid/stat" && kill -s KILL "$parent" && exit 0
	done
	sleep 0.05
done
exit 1`, s.name)
	if err != nil {
		return fmt.Errorf("there was no build to kill: %w", err)
	}
	return nil
}

// operatorTrials are those in which the operator's side goes away.
func operatorTrials() []trial {
	killed := fault{name: "operator killed", killsFerry: true, inflict: func(ctx context.Context, s *subject, h held) error {
		if err := s.signalFerry(ctx, "KILL"); err != nil {
			return err
		}
		return s.letGo(ctx, h.where)
	}}
	interrupted := fault{name: "Ctrl-C", interrupts: true, inflict: func(ctx context.Context, s *subject, h held) error {
		if err := s.signalFerry(ctx, "INT"); err != nil {
			return err
		}
		return s.letGo(ctx, h.where)
	}}
	var trials []trial
	for _, f := range []fault{killed, interrupted} {
		for _, step := range []step.Step{step.Build, step.Profile, step.Restart} {
			trials = append(trials, trial{way: &restarted, step: string(step), where: onHost, fault: f})
		}
		trials = append(trials,
			trial{way: &answered, step: string(step.Await), where: onHost, fault: f},
			trial{way: &switched, step: string(guest.StepSwitch), where: inGuest, fault: f},
		)
	}
	return trials
}

// healthTrials check the VM at an endpoint that misbehaves. It answers from the
// host itself; what matters is what the check makes of it.
func healthTrials() []trial {
	endpoint := func(name, answer, ends string) trial {
		return trial{
			way: &restarted, step: "health check", fault: fault{name: name}, ends: ends,
			args: []string{"--check-http=http://127.0.0.1:8099/", "--confirm-timeout=8s"},
			before: func(ctx context.Context, s *subject) error {
				_, err := s.on(ctx, onHost, `printf '#!/bin/sh\n%s\n' "$1" >/run/faults-endpoint && chmod 755 /run/faults-endpoint
systemd-run --quiet --collect --unit=faults-endpoint socat TCP-LISTEN:8099,bind=127.0.0.1,fork,reuseaddr EXEC:/run/faults-endpoint`, answer)
				return err
			},
			after: func(ctx context.Context, s *subject) error {
				_, err := s.on(ctx, onHost, `systemctl stop faults-endpoint`)
				return err
			},
		}
	}
	return []trial{
		endpoint("endpoint hangs", `sleep 1000`, "A"),
		endpoint("endless header", `printf "HTTP/1.1 200 OK\\r\\nX-Endless: "; exec yes`, "A"),
		endpoint("endless body", `printf "HTTP/1.1 200 OK\\r\\n\\r\\n"; exec yes`, "B"),
		endpoint("endpoint says 500", `printf "HTTP/1.1 500 No\\r\\nContent-Length: 0\\r\\n\\r\\n"`, "A"),
	}
}

// brief comes up and ends after a second; systemd starts it again and again.
var brief = way{name: "loop", machine: process, module: note, bad: func(name string, rev int) string {
	return lab.ProcessVM(name, fmt.Sprintf(`microvm.preStart = "echo revision %d; sleep 1; exit 3";`, rev))
}}

// stuck is a switch that does not come to its end.
var stuck = way{
	name: "live-stuck", machine: container, on: "host1", target: "box",
	args:   []string{"--activation-limit=5s", "--confirm-timeout=30s"},
	module: switched.module,
	bad: func(name string, rev int) string {
		return lab.LiveVM(name, fmt.Sprintf("revision %d", rev), "lab.switchSleep = 1000;")
	},
	onFirst: bootContainer,
}

// guestTrials are VMs and guests that don't come up, or can't be reached.
func guestTrials() []trial {
	mute := fault{name: "guest out of reach", inflict: func(ctx context.Context, s *subject, h held) error {
		if _, err := s.on(ctx, inGuest, muteScript+cutScript); err != nil {
			return err
		}
		return s.letGo(ctx, h.where)
	}}
	return []trial{
		{way: &undone, step: "starting", fault: fault{name: "the VM ends at once"}, ends: "A"},
		{way: &brief, step: "starting", fault: fault{name: "restarts in a loop"}, ends: "A"},
		{way: &takenBack, step: "switching", fault: fault{name: "a unit fails"}, ends: "A"},
		{way: &stuck, step: "switching", fault: fault{name: "the switch hangs"}, ends: "A"},
		{way: &switched, step: string(guest.StepSwitch), where: inGuest, fault: mute, ends: "A"},
	}
}

// muteScript stops the guest's sshd until the system is again the one that it is
// now: as a new system would that has broken the login.
const muteScript = `now=$(readlink -f /run/current-system)
systemd-run --quiet --collect --unit=faults-mute sh -c '
	until [ "$(readlink -f /run/current-system)" != "$1" ]; do sleep 0.2; done
	until [ "$(readlink -f /run/current-system)" = "$1" ]; do sleep 0.2; done
	systemctl start ssh.service' sh "$now"
systemctl stop ssh.socket ssh.service 2>/dev/null
`
