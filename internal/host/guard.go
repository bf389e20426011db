package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"ferry/internal/host/install"
	"ferry/internal/host/settle"
	"ferry/internal/host/undo"
	"ferry/internal/host/unfinished"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
)

const (
	// guardPoll is how often a guard looks.
	guardPoll = 300 * time.Millisecond
	// guardRetry is how long it waits before it tries again what failed; twice as
	// long each time, up to guardSlow.
	guardRetry = 5 * time.Second
	guardSlow  = time.Minute
	// guardTry bounds one try: a connection to systemd may be lost while a job is
	// waited for, and nothing tells.
	guardTry = install.Timeout + undo.Timeout
)

// GuardUnit is the transient unit that settles a deployment whose session ends
// before it does.
func GuardUnit(id string) string { return "ferry-guard-" + id + ".service" }

// guard starts that unit, of the program that the note names.
func (s *Server) guard(ctx context.Context, n microvm.Name, note vmstate.Note) error {
	err := s.units.Transient(ctx, systemd.TransientUnit{
		Name: GuardUnit(note.ID), Description: "ferry: undo deployment " + note.ID + " of " + string(n) + " if it is left unfinished",
		Argv: []string{note.Helper.Path, "host", "guard", string(n), note.ID},
	})
	if err != nil {
		return hostapi.Refuse(fmt.Sprintf("the unit that would undo this deployment could not be started: %v", err), "")
	}
	return nil
}

// Guard waits until the deployment is over. One that is left unfinished it
// settles, once nobody works on the VM any more and no answer is awaited. It goes
// on trying until the note is gone or another deployment's. Nix's messages and
// what fails go to log.
func Guard(ctx context.Context, layout vmstate.Layout, n microvm.Name, id string, log io.Writer) error {
	g := &guardian{
		vm: layout.VM(n), id: id, pause: pause,
		log:     func(line string) { fmt.Fprintln(log, line) },
		connect: func(ctx context.Context) (*Server, error) { return NewServer(ctx, layout, log) },
	}
	return g.stand(ctx)
}

// guardian stands by one deployment.
type guardian struct {
	vm      vmstate.VM
	id      string
	connect func(context.Context) (*Server, error)
	pause   func(context.Context, time.Duration) error
	log     func(string)

	// started is how the start of a previous runner has ended, also where there is
	// no space to note it.
	started vmstate.UndoStart
}

func (g *guardian) stand(ctx context.Context) error {
	retry := guardRetry
	for {
		over, err := g.look(ctx)
		if over {
			return nil
		}
		wait := guardPoll
		if !errors.Is(err, unfinished.ErrBusy) {
			wait, retry = retry, min(2*retry, guardSlow)
			g.log(fmt.Sprintf("settling deployment %s of %s: %v; trying again in %s", g.id, g.vm.Name(), err, wait))
		}
		if err := g.pause(ctx, wait); err != nil {
			return err
		}
	}
}

// look tries to settle the deployment, unless somebody works on the VM or may
// still answer. over: the note is gone, or another deployment's.
func (g *guardian) look(ctx context.Context) (over bool, err error) {
	left, over, err := g.note()
	switch {
	case over || err != nil:
		return over, err
	case left.Awaits(g.vm.Now()) > 0, g.vm.Lock().Holder() != nil:
		return false, unfinished.ErrBusy // not connected to anything meanwhile
	}
	err = g.settle(ctx)
	if errors.Is(err, unfinished.ErrBusy) && !left.Known() { // it was asked, which takes a process
		err = errors.New("a newer version of ferry has not settled it yet")
	}
	if err != nil {
		return false, err
	}
	if _, over, err := g.note(); over || err != nil {
		return over, err
	}
	return false, errors.New("the guest has to be asked first, which only a deployment can")
}

// note is the deployment's note, unless it is over.
func (g *guardian) note() (left *vmstate.Note, over bool, err error) {
	left, err = g.vm.Notes().Deployment()
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && left.ID != g.id:
		return nil, true, nil
	}
	return left, false, err
}

// settle is one try, with a connection to systemd of its own: one that was lost,
// as when systemd executes itself again, comes back in no other way.
func (g *guardian) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, guardTry)
	defer cancel()
	srv, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer srv.Close()
	return srv.unfinished().SettleOne(ctx, g.vm.Name(), g.id, unfinished.Settling{By: settle.Guard, Started: &g.started, Log: g.log})
}

// pause waits; the error is the context's.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
