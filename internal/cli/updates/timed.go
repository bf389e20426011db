package updates

import (
	"time"

	"ferry/internal/cli/option"
	"ferry/internal/deploy/request"
	"ferry/internal/flakeupdate"
	"ferry/internal/microvm"
	"ferry/internal/timers"
)

// timedWait is how long a timer's run waits for another deployment of a VM.
const timedWait = 30 * time.Minute

// timedUpdate is the `ferry update` that a timer runs, checked as the command
// line is.
func timedUpdate(u *timers.Update) (*updateOptions, []microvm.Name, error) {
	o := &updateOptions{
		place: option.Place{Flake: "."}, hosts: []string{"local"}, all: len(u.VMs) == 0,
		source: sourceOptions{
			hydra: u.Hydra, from: u.From, fromFlake: u.FromFlake, anyFlake: u.AnyFlake,
			allowRedirect: u.AllowRedirect, allowHTTP: u.TakesHTTP(), netrc: u.Netrc,
		},
		allowOlder: u.AllowOlder,
		cache:      u.Cache, relay: string(request.RelayNever), restart: u.Restart, wait: timedWait,
		confirm: option.Confirm{NoRollback: u.NoRollback}, unattended: true, targetOf: u.TargetOf,
	}
	names, err := o.names("ferry host timer update HOST [NAME…]", u.VMs)
	return o, names, err
}

func timedFlakeUpdate(f *timers.FlakeUpdate) flakeupdate.Request {
	r := flakeupdate.Request{Flake: f.Repository, Branch: f.Branch, Remote: f.Push, Inputs: f.Inputs}
	if r.Branch == "" {
		r.Branch = "flake-update"
	}
	return r
}
