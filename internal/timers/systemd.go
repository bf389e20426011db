package timers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"ferry/internal/systemd"
)

// Status is what a timer does.
type Status struct {
	Timer      Kind      `json:"timer"`
	Active     bool      `json:"active"`
	OnCalendar []string  `json:"onCalendar,omitempty"`
	Next       time.Time `json:"next,omitzero"`
	Last       time.Time `json:"last,omitzero"`
	Running    bool      `json:"running,omitempty"`  // a run is under way
	Result     string    `json:"result,omitempty"`   // of the last run: systemd's word, `success` or `exit-code`…
	ExitCode   int       `json:"exitCode,omitempty"` // of the last run
	Error      string    `json:"error,omitempty"`    // why the settings can't be used
}

// Status looks at both timers.
func (m *Machine) Status(ctx context.Context) ([]Status, error) {
	settings, err := Read(m.path(File))
	var all []Status
	for _, k := range []Kind{KindUpdate, KindFlakeUpdate} {
		s, lerr := m.sys.look(ctx, k)
		if lerr != nil {
			return nil, lerr
		}
		s.Timer = k
		set := k == KindUpdate && settings.Update != nil || k == KindFlakeUpdate && settings.FlakeUpdate != nil
		switch {
		case err != nil && s.Active:
			s.Error = err.Error()
		case !set && s.Active:
			s.Error = File + " does not say what it does"
		}
		all = append(all, s)
	}
	return all, nil
}

type linux struct{ *systemd.Manager }

func connect(ctx context.Context) (*linux, error) {
	m, err := systemd.Connect(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	return &linux{m}, nil
}

func (l *linux) close() { l.Close() }

func (l *linux) calendar(ctx context.Context, expression string) (string, error) {
	cmd := exec.CommandContext(ctx, "systemd-analyze", "calendar", "--", expression)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return line, nil
	}
	if err != nil {
		return "", fmt.Errorf("asking systemd about a time: %w", err)
	}
	return "", nil
}

func (l *linux) reload(ctx context.Context) error { return l.Reload(ctx) }

func (l *linux) enable(ctx context.Context, timer string) error {
	if err := l.EnableFile(ctx, timer); err != nil {
		return err
	}
	return l.RestartUnit(ctx, timer)
}

func (l *linux) disable(ctx context.Context, timer string) error {
	if err := l.DisableFile(ctx, timer); err != nil {
		return err
	}
	u, err := l.Unit(ctx, timer)
	if err != nil || u.Stopped() {
		return nil
	}
	return l.StopUnit(ctx, timer)
}

func (l *linux) look(ctx context.Context, k Kind) (Status, error) {
	var s Status
	t, err := l.Properties(ctx, k.timer())
	if err != nil {
		return s, err
	}
	s.Active = t["ActiveState"] == "active"
	s.Next, s.Last = when(t["NextElapseUSecRealtime"]), when(t["LastTriggerUSec"])
	if calendar, ok := t["TimersCalendar"].([][]any); ok {
		for _, c := range calendar {
			if len(c) > 1 {
				s.OnCalendar = append(s.OnCalendar, fmt.Sprint(c[1]))
			}
		}
	}
	u, err := l.Properties(ctx, k.service())
	if err != nil {
		return s, err
	}
	s.Running = u["ActiveState"] == "activating"
	if ended := when(u["ExecMainExitTimestamp"]); !ended.IsZero() {
		s.Result, _ = u["Result"].(string)
		if code, ok := u["ExecMainStatus"].(int32); ok {
			s.ExitCode = int(code)
		}
	}
	return s, nil
}

// when is a time as systemd gives it, in microseconds; 0 and the greatest one
// stand for never.
func when(v any) time.Time {
	us, ok := v.(uint64)
	if !ok || us == 0 || us == ^uint64(0) {
		return time.Time{}
	}
	return time.UnixMicro(int64(us)).UTC()
}
