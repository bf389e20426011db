// Package prove shows that a VM is well, as far as its host can tell: the checks of the
// deployment pass, and the unit that was started stays up. It must not know what
// becomes of a VM that isn't.
package prove

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/systemd"
)

// unitPoll is how often a unit is looked at while the VM is checked.
const unitPoll = 500 * time.Millisecond

// Units is what it needs of systemd.
type Units interface {
	Unit(ctx context.Context, name string) (systemd.Unit, error)
	Failure(ctx context.Context, n microvm.Name, since time.Time, message string) *hostapi.Failure
}

// Unit is the unit of a VM, in one start.
type Unit struct {
	Units      Units
	VM         microvm.Name
	Invocation string
	Log        func(string)
}

// Checks makes the checks while the unit is watched.
func (u Unit) Checks(ctx context.Context, c hostapi.Confirmation) error {
	if c.Checks.Empty() {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	began, watched := time.Now(), make(chan struct{})
	defer func() { cancel(nil); <-watched }()
	go func() {
		defer close(watched)
		tick := time.NewTicker(unitPoll)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := u.StayedUp(ctx, began); err != nil {
					cancel(err)
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	u.Log("checking " + string(u.VM))
	err := All(ctx, c.Checks, c.Within(), u.Log)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// StayedUp fails where the unit is not the one any more that was started.
func (u Unit) StayedUp(ctx context.Context, since time.Time) error {
	now, err := u.Units.Unit(ctx, u.VM.Unit())
	if err != nil || (now.Up() && now.InvocationID == u.Invocation) {
		return err
	}
	why := fmt.Sprintf("%s did not stay up: %s (%s), result %s", u.VM.Unit(), now.ActiveState, now.SubState, now.Result)
	if now.Up() {
		why = u.VM.Unit() + " did not stay up: it was started again"
	}
	return u.Units.Failure(ctx, u.VM, since, why)
}

// All makes the checks until all pass.
func All(ctx context.Context, checks health.Checks, within time.Duration, log func(string)) error {
	err := health.Await(ctx, checks, within, log)
	if e := (*health.Error)(nil); errors.As(err, &e) {
		return &hostapi.Failure{Kind: hostapi.KindHealth, Message: e.Error(), Hint: e.Hint(), See: e.Section()}
	}
	return err
}
