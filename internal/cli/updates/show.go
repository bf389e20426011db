package updates

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry/internal/cli/console"
	"ferry/internal/host/setup"
	"ferry/internal/hostapi"
	"ferry/internal/timers"
	"ferry/internal/ui"
)

func showTimer(u *ui.UI, where string, r *timers.Report) error {
	if u.JSON {
		err := u.Data(struct {
			Host string `json:"host"`
			*timers.Report
		}{where, r})
		return errors.Join(nixosRefusal(where, r), err)
	}
	var b strings.Builder
	switch r.Outcome {
	case timers.OutcomeNixOS:
		b.WriteString(ui.Clean(r.Advice))
	case timers.OutcomeUnchanged:
		fmt.Fprintf(&b, "%s: timer %s: nothing to do\n", where, r.Timer)
	case timers.OutcomePlanned:
		fmt.Fprintf(&b, "%s: timer %s: this would be done\n", where, r.Timer)
	default:
		fmt.Fprintf(&b, "%s: timer %s: %s\n", where, r.Timer, r.Outcome)
	}
	for _, c := range r.Changes {
		verb := c.Verb
		if r.Outcome != timers.OutcomePlanned {
			verb = console.ChangeVerb(c.Verb, setup.OutcomeDone)
		}
		fmt.Fprintf(&b, "  %s %s\n", verb, ui.Clean(c.Name))
		if r.Outcome == timers.OutcomePlanned {
			console.WriteDiff(&b, setup.Change{Diff: c.Diff})
		}
	}
	return errors.Join(nixosRefusal(where, r), u.Text(b.String()))
}

func nixosRefusal(where string, r *timers.Report) error {
	if r.Outcome != timers.OutcomeNixOS {
		return nil
	}
	return hostapi.Refuse(where+" runs NixOS, whose own configuration has its timers; nothing was changed", "put the above into its configuration and rebuild it")
}

func showTimers(u *ui.UI, where string, all []timers.Status) error {
	if u.JSON {
		for _, s := range all {
			if err := u.Data(struct {
				Host string `json:"host"`
				timers.Status
			}{where, s}); err != nil {
				return err
			}
		}
		return nil
	}
	var rows []ui.Row
	for _, s := range all {
		state, last := "off", "-"
		switch {
		case s.Running:
			state = "running"
		case s.Active:
			state = "waiting"
		}
		if !s.Last.IsZero() {
			last = shortTime(s.Last) + " " + cmp.Or(s.Result, "-")
		}
		row := ui.Row{Cells: []string{string(s.Timer), state, cmp.Or(strings.Join(s.OnCalendar, ", "), "-"), last, shortTime(s.Next)}}
		if s.Error != "" {
			row.Remarks = []string{s.Error}
		}
		if s.Result == "exit-code" {
			row.Remarks = append(row.Remarks, fmt.Sprintf("the last run ended with exit code %d: journalctl -u ferry-%s.service on the host", s.ExitCode, s.Timer))
		}
		rows = append(rows, row)
	}
	return u.Table([]string{"TIMER", "STATE", "WHEN", "LAST", "NEXT"}, rows)
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
