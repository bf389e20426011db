//go:build lab

package main

import (
	"context"
	"fmt"

	"ferry/internal/host/step"
)

// foreign is the state that is neither A nor B: what somebody else has installed
// meanwhile is current, and runs.
const foreign = "F"

// foreignTrials run `microvm -u` in the midst of a deployment. It knows no lock:
// `current` becomes another runner, and the unit is restarted.
func foreignTrials() []trial {
	updated := fault{name: "microvm -u", inflict: func(ctx context.Context, s *subject, h held) (err error) {
		if s.foreign, err = s.on(ctx, onHost, updateScript, s.name); err != nil {
			return fmt.Errorf("installing another runner: %w", err)
		}
		return s.letGo(ctx, h.where)
	}}
	var trials []trial
	for _, st := range []step.Step{step.Await, step.UndoLink} {
		trials = append(trials, trial{
			way: wayTo(st), step: string(st), where: onHost, fault: updated, ends: foreign, says: "superseded", args: hasty(wayTo(st)),
			cleanup: func(context.Context, *subject) error { return nil }, // the subject is given up
		})
	}
	return trials
}

// updateScript makes a runner current that is as the previous one, but another, and
// prints it.
const updateScript = `set -e
vm=/var/lib/microvms/$1
before=$(readlink "$vm/old")
copy=$(mktemp -d)/${before#/nix/store/*-}
cp -a "$before" "$copy"
chmod u+w "$copy"
touch "$copy/foreign"
new=$(nix-store --add "$copy")
chmod -R u+w "$copy" && rm -r "${copy%/*}"
rm -f "$vm/old"
mv "$vm/current" "$vm/old"
ln -sT "$new" "$vm/current"
systemctl restart "microvm@$1" >&2
echo "$new"`

// examineForeign checks that what somebody else has installed was left alone. What
// follows starts from there.
func (a *attempt) examineForeign() {
	a.end = "?"
	if a.after.current != a.foreign || a.after.booted != a.foreign || a.after.system != a.before.system {
		a.violation("current is %s, booted %s and the guest's system %q instead of what `microvm -u` installed, %s", a.after.current, a.after.booted, a.after.system, a.foreign)
		return
	}
	if a.ran.code != exitFailed {
		a.violation("exit code %d though the deployment was superseded", a.ran.code)
	}
	begin := *a.after
	begin.history, begin.torn = a.before.history, a.before.torn
	a.end, a.before = foreign, &begin
}
