package deploy

import (
	"context"
	"fmt"

	"ferry/internal/deploy/request"
)

// takeHint has the user say whether the address that the host has recorded is the
// guest's, where no other one is known. needed: nothing can be done without it.
func (r *run) takeHint(ctx context.Context, p progress, needed bool) (progress, error) {
	h := p.to.Hint
	if p.to.Target != nil || h == nil {
		return p, nil
	}
	if r.Ask != nil {
		yes, err := r.Ask(ctx, fmt.Sprintf("%s has recorded %s as the address of the system inside %s. Log in there?", p.to.Host, h, p.to.Name))
		switch {
		case err != nil:
			return p, err
		case yes:
			p.to = p.to.Hinted()
			return p, nil
		}
	}
	p.to.Hint, p.intent.TargetKnown = nil, false
	if !needed {
		return p, nil
	}
	sudo := ""
	if h.Sudo {
		sudo = " --target-sudo"
	}
	return p, &request.UsageError{
		Message: fmt.Sprintf("the address of the system inside %s is not known here: %s has recorded %s, which is not used unless you say so", p.to.Name, p.to.Host, h.Address),
		Next: fmt.Sprintf("if that is right: --target %s%s, or set ferry.vms.%s.target in the flake; --restart=always needs no address",
			h.Address, sudo, p.to.Name),
	}
}

// lookInsideBy asks for the hint where a restart can be confirmed from inside with
// it; without it, the host alone says whether the VM is well.
func (r *run) lookInsideBy(ctx context.Context, p progress) (progress, error) {
	h := p.to.Hint
	if h == nil || !p.plan.Activation.Starts() || p.record.SSH == nil || !*p.record.SSH || p.to.DryRun {
		return p, nil
	}
	p, err := r.takeHint(ctx, p, false)
	if err == nil && p.to.Target == nil {
		r.say.Step("nobody logs in after the restart: the address %s, which %s has recorded, is not used without --target", h.Address, p.to.Host)
	}
	return p, err
}
