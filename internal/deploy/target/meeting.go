package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/trouble"
)

const (
	// ObserveWait is how much longer than the host a guest may take to say what it
	// runs, where nothing else is left to be done.
	ObserveWait = 2 * time.Second
	// GlanceWait is the same before anything is changed. An answer that takes
	// longer is awaited again before the unit is touched, for SureWait.
	GlanceWait = 3 * time.Second
	SureWait   = 15 * time.Second
)

// Sought is the VM whose guest a deployment looks for at its target, as its
// configuration and its host know it.
type Sought struct {
	Name, Attribute microvm.Name
	Host, Target    *microvm.Address
	Record          *microvm.Record // nil: ferry has evaluated none
	HostName        string          // by the host's plan, where there is no record
	VM              hostapi.VMState // as the host has just seen it
	// NoRollback: a restart that fails is not undone.
	NoRollback bool
}

// Reporter is told what a person should know.
type Reporter interface {
	Warn(format string, args ...any)
}

// Meeting is that VM, and what has answered at its target. Through the door a
// person may be asked.
type Meeting struct {
	Sought
	Knock  *Knock
	Door   live.Door
	Report Reporter
}

// Observe is what the guest says that it runs, or why that isn't known.
func (m Meeting) Observe(ctx context.Context) (system microvm.StorePath, unknown string, err error) {
	k := m.Knock
	switch {
	case !k.Within(ctx, ObserveWait):
		return "", fmt.Sprintf("the guest at %s did not answer in time", m.Target), ctx.Err()
	case k.err != nil:
		return "", firstLine(k.err), nil
	case k.who.Current == "":
		return "", fmt.Sprintf("the guest at %s runs a system outside the store", m.Target), nil
	}
	return k.who.Current, "", m.isOurs(k.who)
}

// NotWrong is Right where it isn't known yet what becomes of the VM.
func (m Meeting) NotWrong(ctx context.Context) error {
	if err := m.NeverRight(m.Knock.err); err != nil || m.Knock.err != nil || !m.VM.Unit.Up() {
		return err
	}
	return m.isRunning(ctx)
}

// Right judges what the guest, or whatever is there, has answered.
func (m Meeting) Right(ctx context.Context) error {
	k, vm := m.Knock, m.VM
	if err := m.NeverRight(k.err); err != nil {
		return err
	}
	switch {
	case !vm.Exists || vm.Unit.Stopped() || vm.Unit.ActiveState == "failed":
		return m.silent(k.who, k.err)
	case !vm.Unit.Up():
		return nil // on its way up or down: nobody knows what answers
	case k.err == nil:
		return m.isRunning(ctx)
	}
	return m.isRunningUnseen(ctx)
}

// NeverRight refuses a target that no start of the VM can make right.
func (s Sought) NeverRight(err error) error {
	var ce *remote.ConnectError
	if !errors.As(err, &ce) {
		return nil
	}
	switch {
	case ce.NameUnknown() && !strings.HasSuffix(s.Target.Host, ".local"): // by mDNS a machine names itself
		return wrongTarget("the name of the target cannot be resolved: "+ce.Error(), nil)
	case ce.Kind == remote.ChangedHostKey, ce.Kind == remote.BadConfig:
		return wrongTarget("the target can't be logged in to: "+ce.Error(), ce)
	}
	return nil
}

// silent refuses a target where something answers though the VM is down.
func (s Sought) silent(who guest.Identity, err error) error {
	what := fmt.Sprintf("it calls itself %.80q", who.HostName)
	var ce *remote.ConnectError
	if errors.As(err, &ce) {
		if ce.Kind != remote.AuthFailed && ce.Kind != remote.UnknownHostKey {
			return nil // nobody answers, or nobody knows who
		}
		what = ce.Error()
	} else if err != nil {
		what = firstLine(err)
	}
	return wrongTarget(fmt.Sprintf("%s does not run on %s, but a machine answers at %s: %s", s.Name, s.Host, s.Target, what), nil)
}

// isRunning refuses a machine that is not the VM, which runs.
func (m Meeting) isRunning(ctx context.Context) error {
	k := m.Knock
	if err := m.isOurs(k.who); err != nil {
		return err
	}
	rec := m.Record
	if k.who.Current == m.VM.Running || m.VM.Booted == "" || rec == nil || !rec.SharesStore() {
		return nil
	}
	// Another VM of this name, on another host, doesn't see this one's store.
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil {
		return nil
	}
	who, err := guest.Ask(ctx, k.conn, m.VM.Booted)
	if err != nil || who.HasStore {
		return ctx.Err()
	}
	return wrongTarget(fmt.Sprintf("the machine at %s does not see the /nix/store of %s, and does not run what %s runs there", m.Target, m.Host, m.Name), nil)
}

// isOurs refuses a machine that has neither the VM's name nor its system.
func (s Sought) isOurs(who guest.Identity) error {
	want := s.HostName
	if rec := s.Record; rec != nil {
		want = rec.HostName
	}
	if want == "" || who.HostName == want || who.Current != "" && who.Current == s.VM.Running {
		return nil
	}
	return wrongTarget(fmt.Sprintf("the machine at %s calls itself %.80q, but %s is configured as %q", s.Target, who.HostName, s.Attribute, want), nil)
}

// isRunningUnseen is for a VM that runs and whose guest could not be asked without
// a question. A person may answer it; what can't be reached may be just why the
// VM is restarted.
func (m Meeting) isRunningUnseen(ctx context.Context) error {
	err := m.Knock.err
	var ce *remote.ConnectError
	if errors.As(err, &ce) && ce.Kind != remote.Unreachable && ce.Kind != remote.Dropped {
		if err = m.askAgain(ctx); err == nil {
			return m.isRunning(ctx)
		}
		if errors.As(err, &ce) && ce.Kind == remote.UnknownHostKey {
			return wrongTarget("the target can't be logged in to: "+ce.Error(), ce)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	after := "the restart is undone unless it does afterwards"
	if m.NoRollback {
		after = "the restart counts as failed unless it does afterwards"
	}
	m.Report.Warn("%s: its guest does not let anybody in now (%s); %s", m.Name, firstLine(err), after)
	return nil
}

// askAgain logs in as a person does, who may be asked.
func (m Meeting) askAgain(ctx context.Context) error {
	conn, err := m.Door.Dial(ctx, false)
	if err != nil {
		return err
	}
	who, err := guest.Ask(ctx, conn, "")
	if err != nil {
		_ = conn.Close()
		return err
	}
	m.Knock.answer(conn, who)
	return nil
}

// wrongTarget is what stops a deployment before anything is touched.
// Where the login is to blame, that is the cause, and it says what to do.
func wrongTarget(message string, cause error) error {
	const next = "check the target's address; --no-guest goes on without looking there before"
	return hostapi.Refuse(message, cmp.Or(trouble.Hint(cause), next)).About(cmp.Or(trouble.Of(cause), trouble.WrongTarget))
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
