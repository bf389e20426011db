package examine

import (
	"context"
	"fmt"
	"time"

	"ferry/internal/host/setup"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/nix"
	"ferry/internal/systemd"
)

const (
	// limit is for all looks, which are made at once: a disk of another machine that is gone, for one, keeps
	// whoever asks for it.
	limit = 20 * time.Second
	// maxNames bounds every list of an answer.
	maxNames = 50
	// maxWhy bounds a reason, in bytes.
	maxWhy = 500
)

// Host is the machine that is looked at.
type Host struct {
	Layout   vmstate.Layout
	Programs setup.Programs // what setup would install
	Nix      *nix.Nix

	looks []look // nil but in tests: all of them
	limit time.Duration
}

// look is one thing that is found out. What it returns writes the answer: a look that
// comes too late writes nothing.
type look struct {
	what string
	find func(context.Context) (func(*hostapi.Examined), error)
}

// Examine looks at everything at once.
func (h Host) Examine(ctx context.Context, req hostapi.ExamineRequest) *hostapi.Examined {
	e := &hostapi.Examined{Now: time.Now().UTC(), Unknown: map[string]string{}}
	units, err := systemd.Connect(ctx)
	if err == nil {
		defer units.Close()
		h.Layout.StateDir = stateDir(ctx, units, h.Layout.StateDir)
	}
	looks := h.looks
	if looks == nil {
		looks = append(h.machine(req), h.ofUnits(units, err)...)
	}
	if req.Seconds > 0 && h.limit == 0 {
		h.limit = min(time.Duration(req.Seconds)*time.Second, limit)
	}
	h.run(ctx, looks, e)
	return e
}

// machine are the looks that need no systemd.
func (h Host) machine(req hostapi.ExamineRequest) []look {
	looks := []look{
		{hostapi.LookNix, h.nix}, {hostapi.LookDisks, h.disks}, {hostapi.LookKVM, kvm}, {hostapi.LookSSHD, sshd},
		{hostapi.LookSetup, h.setup}, {hostapi.LookState, h.state}, {hostapi.LookLeft, h.left},
		{hostapi.LookVMs, h.vms}, {hostapi.LookNewest, h.newest},
	}
	if req.Door != nil {
		looks = append(looks, look{hostapi.LookDoor, door(*req.Door)})
	}
	return looks
}

// ofUnits are those that ask systemd; err is why it does not answer.
func (h Host) ofUnits(units *systemd.Manager, err error) []look {
	asking := func(find func(context.Context, *systemd.Manager) (func(*hostapi.Examined), error)) func(context.Context) (func(*hostapi.Examined), error) {
		return func(ctx context.Context) (func(*hostapi.Examined), error) {
			if err != nil {
				return nil, err
			}
			return find(ctx, units)
		}
	}
	return []look{{hostapi.LookSystemd, asking(systemdVersion)}, {hostapi.LookUnit, asking(unit)}}
}

// found is how a look has ended.
type found struct {
	what  string
	write func(*hostapi.Examined)
	err   error
}

// run waits for all looks, and no longer than the limit.
func (h Host) run(ctx context.Context, looks []look, e *hostapi.Examined) {
	within := h.limit
	if within == 0 {
		within = limit
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	all := make(chan found, len(looks))
	waiting := map[string]bool{}
	for _, l := range looks {
		waiting[l.what] = true
		go func() {
			write, err := l.find(ctx)
			all <- found{l.what, write, err}
		}()
	}
	// One that keeps its process in the kernel does not even end when it is told to.
	over := time.NewTimer(within + time.Second)
	defer over.Stop()
	for len(waiting) > 0 {
		select {
		case f := <-all:
			delete(waiting, f.what)
			if f.err != nil {
				e.Unknown[f.what] = short(f.err.Error())
			} else {
				f.write(e)
			}
		case <-over.C:
			for what := range waiting {
				e.Unknown[what] = fmt.Sprintf("nothing came of it within %s", within)
			}
			return
		}
	}
}

// short bounds a text.
func short(s string) string {
	if len(s) > maxWhy {
		return s[:maxWhy] + "…"
	}
	return s
}

// few bounds a list.
func few(names []string) []string { return names[:min(len(names), maxNames)] }
