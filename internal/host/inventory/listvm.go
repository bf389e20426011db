package inventory

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ferry/internal/host/plan"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
	"ferry/internal/systemd"
)

// look describes one entry of the state directory. Whatever is wrong with it
// becomes one of its problems.
func (l *Lister) look(ctx context.Context, name string, units map[string]systemd.ListedUnit, noUnits string) hostapi.Listed {
	v := hostapi.Listed{Name: name, Dir: filepath.Join(l.layout.StateDir, name), State: hostapi.StateUnknown, Fresh: hostapi.FreshUnknown}
	if noUnits == "" {
		v.State = stateOf(name, units, &v)
	} else {
		v.Problem("%s", noUnits)
	}
	n, err := microvm.ParseName(name)
	if err != nil {
		v.Problem("ferry manages no VM of this name: %v", err)
		n = "" // no path is made of it but the directory's own
	}
	dir, err := l.layout.OpenEntry(name)
	if err != nil {
		v.Problem("%v", errors.Unwrap(err))
		v.State = hostapi.StateNoVM
		return v
	}
	defer dir.Close()
	links := l.readLinks(dir, &v)
	if v.Current == "" && v.Booted == "" && links == 0 {
		v.State = hostapi.StateNoVM
		v.Problem("it is not a VM: there is no `current` in it")
		return v
	}
	if v.Flake, err = dir.Flake(); err != nil {
		v.FlakeError = err.Error()
		v.Problem("%v", err)
	}
	v.Declared = l.declared(ctx, n, dir, units, &v)
	if n == "" {
		return v
	}
	v.Generation = l.layout.VM(n).Profile().Current()
	l.compare(ctx, n, &v)
	return v
}

// readLinks reads the VM's links and what is inside the runners they name. It
// returns how many of them are there but can't be used.
func (l *Lister) readLinks(dir *vmstate.Dir, v *hostapi.Listed) (broken int) {
	for _, link := range []struct {
		name         string
		runner, what *microvm.StorePath
	}{
		{"current", &v.Current, &v.CurrentSystem},
		{"booted", &v.Booted, &v.BootedSystem},
	} {
		p, err := dir.Link(link.name)
		if err != nil {
			broken++
			v.Problem("%v", err)
			continue
		}
		if p == "" {
			continue
		}
		*link.runner = p
		r, err := runner.Open(l.layout.Root, p)
		switch {
		case errors.Is(l.exists(p), fs.ErrNotExist):
			v.Problem("`%s` is dangling: %s is gone from the store", link.name, p)
		case err != nil:
			v.Problem("`%s`: %v", link.name, err)
		}
		*link.what = r.System
	}
	return broken
}

func (l *Lister) exists(p microvm.StorePath) error {
	_, err := os.Lstat(filepath.Join(l.layout.Root, string(p)))
	return err
}

// declared reports whether the host's own configuration owns the VM.
func (l *Lister) declared(ctx context.Context, n microvm.Name, dir *vmstate.Dir, units map[string]systemd.ListedUnit, v *hostapi.Listed) bool {
	if dir.HasToplevel() {
		return true
	}
	if n == "" || units["install-microvm-"+string(n)+".service"].LoadState != "loaded" {
		return false
	}
	unit, err := l.units.DeclaredBy(ctx, n)
	if err != nil {
		v.Problem("%v", err)
	}
	return unit != ""
}

// compare finds out what runs, what waits, and what a deployment left.
func (l *Lister) compare(ctx context.Context, n microvm.Name, v *hostapi.Listed) {
	vm := hostapi.VMState{Exists: v.Current != "", Current: v.Current, Booted: v.Booted}
	up := v.State == hostapi.StateRunning || v.State == hostapi.StateStopping
	if up {
		v.Running = l.running(ctx, n, v)
	}
	disk := l.layout.VM(n)
	l.unfinished(disk, v)
	if cut, err := disk.Guest().Unsure(); up && err == nil {
		if u, err := l.units.Unit(ctx, n.Unit()); err == nil && u.InvocationID == cut.InvocationID {
			v.State = hostapi.StateUnconfirmed
		}
	}
	if v.Current == "" || l.exists(v.Current) != nil {
		return
	}
	if v.State == hostapi.StateUnknown && v.Booted != "" { // `booted` is there from start to stop
		up, v.Running = true, v.BootedSystem
	}
	if !up {
		v.Fresh = hostapi.FreshCurrent // what is installed is what the next start boots
		return
	}
	vm.Unit.ActiveState, vm.Running = "active", v.Running
	record := disk.Notes().Record(v.Current)
	p, err := plan.Make(plan.Input{
		Root: l.layout.Root, Records: disk.Notes(),
		VM: vm, Record: record, Runner: v.Current, Built: true,
		Intent: hostapi.Intent{Action: hostapi.ActionSwitch, Restart: hostapi.RestartAuto, TargetKnown: true},
	})
	if err != nil {
		return // the link's problem says it
	}
	v.Weigh(p, record != nil)
}

// unfinished shows who works on the VM, or the deployment that was left.
func (l *Lister) unfinished(disk vmstate.VM, v *hostapi.Listed) {
	if v.Lock = disk.Lock().Holder(); v.Lock != nil {
		return
	}
	left := disk.Notes().Left()
	if left == nil {
		return
	}
	now := disk.Now()
	switch awaits := left.Awaits(now); {
	case !left.Known():
		v.Problem("deployment %s by %s was cut off; a newer version of ferry began it", left.ID, left.By)
	case awaits > 0:
		v.Problem("deployment %s by %s may be confirmed until %s, then it is undone", left.ID, left.By, now.Wall.Add(awaits).Local().Format(time.TimeOnly))
	case left.Phase == hostapi.PhaseUndo && left.LastError != "":
		v.Problem("deployment %s by %s is being undone: %s; not done yet: %s", left.ID, left.By, hostapi.Reason(left.Why), hostapi.Reason(left.LastError))
	case left.Phase == hostapi.PhaseUndo:
		v.Problem("deployment %s by %s is being undone: %s", left.ID, left.By, hostapi.Reason(left.Why))
	case left.LastError != "":
		v.Problem("deployment %s by %s was cut off and is not settled: %s", left.ID, left.By, hostapi.Reason(left.LastError))
	default:
		v.Problem("deployment %s by %s was cut off; the next one settles it", left.ID, left.By)
	}
	if left.Activating || left.Phase != "" {
		v.State = hostapi.StateUnconfirmed
	}
}

// running is the system that the guest runs as far as the host knows.
func (l *Lister) running(ctx context.Context, n microvm.Name, v *hostapi.Listed) microvm.StorePath {
	note, err := l.layout.VM(n).Guest().Running()
	if err != nil || note.InvocationID == "" {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			v.Problem("what it was switched to can't be read: %v", err)
		}
		return v.BootedSystem
	}
	// Only a VM that was switched live is asked for: the note counts for one
	// start of its unit.
	u, err := l.units.Unit(ctx, n.Unit())
	if err != nil {
		v.Problem("%v", err)
		return v.BootedSystem
	}
	if u.InvocationID == note.InvocationID {
		return note.System
	}
	return v.BootedSystem
}

// stateOf reads the state of a VM's service from the list of units. A unit that
// is not in the list is not loaded, so it is not running.
func stateOf(name string, units map[string]systemd.ListedUnit, v *hostapi.Listed) hostapi.State {
	u, loaded := units["microvm@"+name+".service"]
	if !loaded {
		return hostapi.StateStopped
	}
	switch u.ActiveState {
	case "active", "reloading", "refreshing":
		return hostapi.StateRunning
	case "failed":
		v.Problem("its service failed: journalctl -u microvm@%s", name)
		return hostapi.StateFailed
	case "deactivating":
		return hostapi.StateStopping
	case "activating":
		if strings.HasPrefix(u.SubState, "auto-restart") {
			v.Problem("its service ended and systemd starts it again: journalctl -u microvm@%s", name)
			return hostapi.StateFailed
		}
		return hostapi.StateStarting
	}
	if u.Job == "start" || u.Job == "restart" {
		return hostapi.StateStarting
	}
	for _, helper := range systemd.HelperUnits(name) {
		if units[helper].ActiveState == "failed" {
			v.Problem("%s, which it needs, failed: journalctl -u %s", helper, helper)
			return hostapi.StateFailed
		}
	}
	return hostapi.StateStopped
}
