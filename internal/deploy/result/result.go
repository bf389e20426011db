package result

import (
	"fmt"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// Outcome is how a deployment ended.
type Outcome string

// The outcomes, also the words of the JSON output and of the history.
const (
	OutcomeUnchanged    Outcome = "unchanged"
	OutcomeInstalled    Outcome = "installed"
	OutcomeSwitched     Outcome = "switched"
	OutcomeRestarted    Outcome = "restarted"
	OutcomeStarted      Outcome = "started"
	OutcomeTested       Outcome = "tested"
	OutcomeDryActivated Outcome = "dry-activated"
	OutcomeDryRun       Outcome = "dry-run"
	OutcomeSkipped      Outcome = "skipped" // an update: it is not to be updated from there
	OutcomeFailed       Outcome = "failed"
	OutcomeRolledBack   Outcome = "rolled-back" // it failed and was undone
)

// Observed is who says what a VM runs.
type Observed string

// The host knows what it has booted, and what ferry has switched to since.
const (
	ObservedHost  Observed = "host"
	ObservedGuest Observed = "guest"
)

// Result is what one deployment did. Its JSON form is what --json prints, one
// object a line; docs/json.md describes the fields.
type Result struct {
	VM         microvm.Name      `json:"vm"`
	Host       string            `json:"host,omitempty"`
	Target     string            `json:"target,omitempty"`
	Deployment string            `json:"deployment"`
	Build      string            `json:"build,omitempty"`   // where an update came from
	BuildOn    string            `json:"buildOn,omitempty"` // `local` or a builder; else it is built on the host
	Action     hostapi.Action    `json:"action"`
	Outcome    Outcome           `json:"outcome"`
	Runner     microvm.StorePath `json:"runner,omitempty"`
	System     microvm.StorePath `json:"system,omitempty"`
	Previous   microvm.StorePath `json:"previous,omitempty"`
	Generation int               `json:"generation,omitempty"`
	Rollback   bool              `json:"rollback,omitempty"` // to that generation, which was there
	Update     bool              `json:"update,omitempty"`   // to what others chose
	BootID     string            `json:"bootId,omitempty"`
	LastResort bool              `json:"lastResort,omitempty"` // the host restarted the VM after an undo
	// Activation is what was done, or for a dry run would be.
	Activation hostapi.Activation `json:"activation,omitempty"`
	Reason     string             `json:"reason,omitempty"`
	Predicted  bool               `json:"predicted,omitempty"` // dry run, made before the build
	Install    bool               `json:"install"`
	// Changes are lines of the closure diff. ConfigurationOnly: something
	// changed, but no package.
	Changes           []string `json:"changes,omitempty"`
	ConfigurationOnly bool     `json:"configurationOnly,omitempty"`
	// Hardware is what this deployment changed in hardware, by a restart; Waits
	// is what the next restart will change.
	Hardware []string `json:"hardware,omitempty"`
	Waits    []string `json:"waitsForRestart,omitempty"`
	Stopped  bool     `json:"stopped,omitempty"` // the VM stays stopped
	Killed   string   `json:"killed,omitempty"`  // in words: the guest that ran before did not shut down
	Notes    []string `json:"notes,omitempty"`   // what ferry can't see a change of
	// Observed is who says what a VM runs that was found unchanged; NotObserved is
	// why that is not its guest, where the guest was to be asked.
	Observed    Observed        `json:"observed,omitempty"`
	NotObserved string          `json:"notObserved,omitempty"`
	Seconds     float64         `json:"seconds"`
	Error       string          `json:"error,omitempty"`
	State       string          `json:"state,omitempty"` // after an error: how things are
	See         trouble.Section `json:"see,omitempty"`   // the section of docs/troubleshooting.md about the error
}

// FromPlan takes what a plan says of the deployment.
func (r *Result) FromPlan(p hostapi.Plan) {
	r.Activation, r.Reason, r.Install = p.Activation, p.Reason, p.Install
	r.Runner, r.Waits, r.Stopped = p.Runner, p.Waits, p.Stopped
	if p.System != "" {
		r.System = p.System
	}
	r.Changes = p.Closure
	if p.Activation == hostapi.ActivateRestart || p.Activation == hostapi.ActivateStart {
		r.Hardware = p.Hardware
	}
	r.ConfigurationOnly = p.Changed && !p.Predicted && !p.Nothing() && len(p.Closure) == 0 && p.Previous != ""
}

// Text is the result for people.
func (r *Result) Text() string {
	var b strings.Builder
	back := ""
	if r.Rollback && r.Outcome != OutcomeUnchanged && r.Outcome != OutcomeDryRun {
		back = "rolled back; "
	}
	fmt.Fprintf(&b, "%s: %s%s\n", r.VM, back, r.headline())
	if r.Changes != nil {
		for _, c := range r.Changes {
			fmt.Fprintf(&b, "  %s\n", c)
		}
	} else if r.ConfigurationOnly {
		fmt.Fprintln(&b, "  configuration only: no package changed")
	}
	for _, h := range r.Hardware {
		fmt.Fprintf(&b, "  %s\n", h)
	}
	for _, w := range r.Waits {
		fmt.Fprintf(&b, "  %s waits for a restart\n", w)
	}
	if len(r.Waits) > 0 {
		how := "ferry rebuild %s --restart=if-needed"
		if r.Rollback || r.Update { // a rebuild would bring the flake's runner instead
			how = "ferry restart %s"
		}
		fmt.Fprintf(&b, "  ("+how+" applies it)\n", r.VM)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  %s\n", n)
	}
	if r.BootID != "" {
		fmt.Fprintf(&b, "  boot id %s\n", r.BootID)
	}
	return b.String()
}

func (r *Result) headline() string {
	on := ""
	if r.Host != "" {
		on = " on " + r.Host
	}
	generation := ""
	if r.Generation > 0 {
		generation = fmt.Sprintf(" (generation %d)", r.Generation)
	}
	because := ""
	if r.Reason != "" {
		because = ": " + r.Reason
	}
	switch r.Outcome {
	case OutcomeUnchanged:
		if r.Stopped {
			return "unchanged" + on + "; the VM stays stopped (ferry start " + string(r.VM) + ")"
		}
		if r.NotObserved != "" {
			return "unchanged" + on + " as far as the host knows (" + r.NotObserved + ")"
		}
		return "unchanged" + on
	case OutcomeInstalled:
		if r.Stopped {
			return fmt.Sprintf("installed%s as generation %d; the VM stays stopped (ferry start %s)", on, r.Generation, r.VM)
		}
		return fmt.Sprintf("installed%s as generation %d; what runs was not touched", on, r.Generation)
	case OutcomeSwitched:
		if r.Host == "" {
			return "switched live in " + r.Target
		}
		return "switched live" + on + generation
	case OutcomeRestarted:
		return "restarted" + on + generation + because
	case OutcomeStarted:
		return "started" + on + generation + because
	case OutcomeTested:
		return "tested live in " + r.Target + "; the next boot brings the installed system back"
	case OutcomeDryActivated:
		return "dry-activated in " + r.Target + "; nothing was changed"
	case OutcomeDryRun:
		return r.intention()
	case OutcomeSkipped:
		return "skipped: " + r.Reason
	}
	return string(r.Outcome)
}

func (r *Result) intention() string {
	var does []string
	if r.Predicted {
		what := "copy the derivations and build on " + r.Host
		if r.BuildOn != "" {
			builder := r.BuildOn
			if builder == "local" {
				builder = "this machine"
			}
			what = "build on " + builder + " and copy it to " + r.Host
		}
		if r.Build != "" {
			what = "download " + string(r.Runner)
		}
		does = append(does, what)
	}
	if r.Install {
		does = append(does, "install")
	}
	switch r.Activation {
	case hostapi.ActivateLive:
		does = append(does, "switch live in "+r.Target)
	case hostapi.ActivateRestart:
		does = append(does, "restart it ("+r.Reason+")")
	case hostapi.ActivateStart:
		does = append(does, "start it ("+r.Reason+")")
	}
	if len(does) == 0 {
		return "would change nothing"
	}
	return "would " + strings.Join(does, ", ")
}
