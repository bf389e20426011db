package request

import (
	"cmp"
	"fmt"
	"time"

	"ferry/internal/deploy/target"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Resolved is what one deployment is to do, where, and what confirms it: the
// user's request with what the flake adds. Nobody writes to it; where something
// is learned later, a changed copy takes its place.
type Resolved struct {
	Attribute, Name      microvm.Name
	Source               flake.Source
	Host, Target         *microvm.Address // nil: not known
	HostSudo, TargetSudo bool
	// Recorded: Target is the one that the host has recorded. Nobody says that this
	// machine can log in there.
	Recorded    bool
	Hint        *target.Hint // what the host has recorded, where nobody has confirmed it
	Action      hostapi.Action
	Restart     hostapi.RestartPolicy
	UpdateFlake string
	DryRun      bool
	Confirm     Confirm
	Wait        time.Duration
	Settle      hostapi.SettleChoice
	// Place is where the runner is built.
	Place        microvm.BuildPlace
	NoSubstitute bool
	EvalOnHost   bool
	// NoGuest: the guest is asked only where it is switched live or awaited.
	NoGuest bool
}

// Resolve fills in what the user left open from the flake's `ferry` output.
func Resolve(req Deploy, f flake.Fleet) Resolved {
	vm := f.VMs[req.Attribute]
	r := Resolved{
		Attribute: req.Attribute, Name: cmp.Or(req.Name, req.Attribute), Source: req.Source,
		Host: req.Host, HostSudo: req.HostSudo, Target: req.Target, TargetSudo: req.TargetSudo,
		Action: req.Action, Restart: cmp.Or(req.Restart, hostapi.RestartPolicy(vm.Restart), hostapi.RestartAuto),
		UpdateFlake: cmp.Or(req.UpdateFlake, vm.UpdateFlake), DryRun: req.DryRun, Wait: req.Wait, Settle: req.Settle,
		Confirm:      req.Confirm.Or(vm.Health),
		NoSubstitute: req.Building.NoSubstitute, NoGuest: req.NoGuest,
		EvalOnHost: req.Building.EvalOnHost && !req.DryRun, // a dry run leaves nothing on the host
	}
	if h, ok := f.HostOf(req.Attribute); ok && r.Host == nil {
		r.Host, r.HostSudo = &h.Address, r.HostSudo || h.Sudo
	}
	if r.Target == nil && vm.Target != nil {
		r.Target, r.TargetSudo = vm.Target, r.TargetSudo || vm.TargetSudo
	}
	on := cmp.Or(req.Building.On, f.BuildOn(req.Attribute))
	if on != nil && !r.EvalOnHost { // what the host evaluates it builds, too
		r.Place = *on
	}
	return r
}

// WithoutTarget is for a guest that nobody can log in to.
func (r Resolved) WithoutTarget() Resolved {
	r.Target = nil
	return r
}

// Named is the same for a VM whose name is learned later.
func (r Resolved) Named(n microvm.Name, a hostapi.Action) Resolved {
	r.Attribute, r.Name, r.Action = n, n, a
	return r
}

// Intent is what the host is told of it.
func (r Resolved) Intent() hostapi.Intent {
	return hostapi.Intent{
		Action: r.Action, Restart: r.Restart, TargetKnown: r.Target != nil || r.Hint != nil, UpdateFlake: r.UpdateFlake,
	}
}

// NeedHost fails where the host is not known.
func (r Resolved) NeedHost() error {
	if r.Host != nil {
		return nil
	}
	return &UsageError{
		Message: fmt.Sprintf("the host of %s is not known", r.Attribute),
		Next:    fmt.Sprintf("name it (ferry rebuild %s root@host) or set ferry.vms.%s.host and ferry.hosts in the flake", r.Attribute, r.Attribute.Attribute()),
	}
}

// WithRecorded takes in the target that the host has recorded, where none is known.
// On the host itself that is the operator's own record; elsewhere it is a hint.
func (r Resolved) WithRecorded(recorded string, sudo bool) (Resolved, error) {
	if r.Target != nil || recorded == "" {
		return r, nil
	}
	h, err := target.ParseHint(recorded, sudo)
	if err != nil {
		return r, fmt.Errorf("the target that %s has recorded %w", r.Host, err)
	}
	r.Hint = &h
	if r.Host.Local {
		return r.Hinted(), nil
	}
	return r, nil
}

// Hinted uses the hint: somebody who may say so has confirmed it.
func (r Resolved) Hinted() Resolved {
	r.Target, r.TargetSudo, r.Recorded, r.Hint = &r.Hint.Address, r.TargetSudo || r.Hint.Sudo, true, nil
	return r
}
