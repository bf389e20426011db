package updates

import (
	"cmp"
	"context"
	"fmt"

	"ferry/internal/cli/console"
	"ferry/internal/cli/terminal"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/update"
)

// updateRun is one run of `ferry update`.
type updateRun struct {
	*console.Console
	o        *updateOptions
	m        *manage.Manager
	source   update.Source
	deployer *deploy.Deployer
	only     bool // one VM, whose error is that of the run
	partial  partialError
}

func runUpdate(ctx context.Context, a *console.Console, o *updateOptions, names []microvm.Name) error {
	source, err := o.source.open(a.UI)
	if err != nil {
		return err
	}
	return a.WithManager(ctx, &o.place, func(m *manage.Manager) error {
		n, evaluator := evaluators(a.UI)
		r := &updateRun{
			Console: a, o: o, m: m, source: source, only: len(names) == 1,
			deployer: &deploy.Deployer{Report: a.UI, Evaluator: evaluator, Nix: n, SocketDir: m.SocketDir, AskPassword: m.AskPassword, Ask: terminal.Confirmer(a.Err), Memory: console.Memory()},
		}
		byPlace, places, err := r.places(ctx, names)
		if err != nil {
			return err
		}
		for _, p := range places {
			if err := r.onHost(ctx, p, byPlace[p]); err != nil {
				return err
			}
		}
		if len(r.partial.failed) > 0 {
			return &r.partial
		}
		return nil
	})
}

// places says which VMs are where, in the order of the user's words. With --all
// the hosts are asked later.
func (r *updateRun) places(ctx context.Context, names []microvm.Name) (map[manage.Place][]microvm.Name, []manage.Place, error) {
	byPlace := map[manage.Place][]microvm.Name{}
	if r.o.all {
		places, err := r.m.PlacesOf(ctx, r.o.hosts, r.o.place.HostSudo)
		if err == nil {
			err = r.localOnly(places)
		}
		return byPlace, places, err
	}
	word := ""
	if len(r.o.hosts) == 1 {
		word = r.o.hosts[0]
	}
	var places []manage.Place
	for _, n := range names {
		p, err := r.m.PlaceOf(ctx, n, word, r.o.place.HostSudo)
		if err != nil {
			return nil, nil, err
		}
		if len(byPlace[p]) == 0 {
			places = append(places, p)
		}
		byPlace[p] = append(byPlace[p], n)
	}
	return byPlace, places, r.localOnly(places)
}

// localOnly: what a `flake` file names is for its host: a path in it is one there.
func (r *updateRun) localOnly(places []manage.Place) error {
	for _, p := range places {
		if r.source == nil && !p.Address.Local {
			return &cmdline.UsageError{Err: fmt.Errorf("--from-flake is for the host itself, not for %s", p), Next: "run it there with --host local, or have a timer do it: ferry host timer update " + p.String() + " --from-flake --on-calendar daily"}
		}
	}
	return nil
}

// onHost updates the VMs of one host, one after the other, over one connection.
func (r *updateRun) onHost(ctx context.Context, p manage.Place, names []microvm.Name) error {
	h, err := r.m.Connect(ctx, p)
	if err == nil {
		defer h.Close()
		if r.o.all {
			h.NoTrace = r.o.dryRun
			names, err = listedNames(ctx, r.UI, h)
		}
	}
	if err != nil {
		return r.failed(ctx, p.String(), err)
	}
	if len(names) == 0 {
		r.UI.Warn("%s has no VM to update", p)
	}
	for _, n := range names {
		if err := r.one(ctx, h, n); err != nil {
			return err
		}
	}
	return nil
}

func (r *updateRun) one(ctx context.Context, h *manage.Host, n microvm.Name) error {
	req, err := r.o.request(n)
	if err != nil {
		return err
	}
	req.Host, req.HostSudo, req.Conn, req.Source = h.Address, h.Sudo, h.Conn(), r.source
	vm := r.m.VM(ctx, n)
	if req.Target == nil {
		req.Target, req.TargetSudo = vm.Target, req.TargetSudo || vm.TargetSudo
	}
	if req.Restart == "" {
		req.Restart = hostapi.RestartPolicy(vm.Restart)
	}
	req.Confirm = req.Confirm.Or(vm.Health)
	result, err := r.deployer.Update(ctx, req)
	if r.only {
		return r.ShowResult(result, err)
	}
	if err == nil || r.UI.JSON {
		if err := r.ShowResult(result, nil); err != nil {
			return err
		}
	}
	if err != nil {
		return r.failed(ctx, string(n), err)
	}
	r.partial.done++
	return nil
}

// failed notes what failed; the others go on unless the user has had enough.
func (r *updateRun) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil || r.only {
		return err
	}
	r.PrintError(err)
	r.partial.failed = append(r.partial.failed, what)
	r.partial.err = cmp.Or(r.partial.err, err)
	return nil
}
