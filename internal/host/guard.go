package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"ferry/internal/microvm"
)

const (
	// guardPoll is how often a guard looks.
	guardPoll = 300 * time.Millisecond
	// guardRetry is how long it waits before it tries again what failed.
	guardRetry = 10 * time.Second
	// guardTries bounds these tries; after them the next deployment, or the next
	// start of the machine, settles it.
	guardTries = 5
)

// GuardUnit is the transient unit that settles a deployment whose session ends
// before it does.
func GuardUnit(id string) string { return "ferry-guard-" + id + ".service" }

// guard starts that unit.
func (s *Server) guard(ctx context.Context, n microvm.Name, id string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding ferry's own program: %w", err)
	}
	err = s.units.transient(ctx, transientUnit{
		name: GuardUnit(id), description: "ferry: undo deployment " + id + " of " + string(n) + " if it is left unfinished",
		argv: []string{self, "host", "guard", string(n), id},
	})
	if err != nil {
		return refuse(fmt.Sprintf("the unit that would undo this deployment could not be started: %v", err), "")
	}
	return nil
}

// Guard waits until the deployment is over. One that is left unfinished it
// settles, once nobody works on the VM any more and no answer is awaited.
func (s *Server) Guard(ctx context.Context, n microvm.Name, id string, log func(string)) error {
	for tries := 0; ; {
		var left unfinished
		if s.layout.readNote(n, noteDeployment, &left) != nil || left.ID != id {
			return nil
		}
		err, wait := errBusy, guardPoll
		if left.awaits() == 0 { // else it would hold the lock now and then
			err = s.settleOne(ctx, n, id, settling{again: tries < guardTries-1, log: log})
		}
		if err != nil && !errors.Is(err, errBusy) {
			if tries++; tries == guardTries {
				return err
			}
			log(fmt.Sprintf("settling deployment %s of %s: %v", id, n, err))
			wait = guardRetry
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
