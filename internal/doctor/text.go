package doctor

import (
	"fmt"
	"strings"

	"ferry/internal/ui"
)

// Text is for people: what is well only where that is asked for, and what is unknown
// for one reason in one line. Some of it is other machines' words, made harmless.
func Text(found []Finding, verbose bool) string {
	var b strings.Builder
	for _, f := range together(found) {
		if f.Severity == OK && !verbose {
			continue
		}
		where := string(f.Where)
		if f.Machine != "" {
			where += " " + f.Machine
		}
		fmt.Fprintf(&b, "%-8s %s: %s: %s\n", f.Severity, oneLine(where), f.What, oneLine(f.Text))
		if f.Cure != "" {
			fmt.Fprintf(&b, "         → %s\n", oneLine(f.Cure))
		}
		if f.See != "" {
			fmt.Fprintf(&b, "         more: ferry explain %s\n", f.See)
		}
	}
	return b.String()
}

// together has one finding for all checks of a machine that are unknown for one reason.
func together(found []Finding) []Finding {
	var all []Finding
	first := map[string]int{}
	for _, f := range found {
		key := string(f.Where) + "\n" + f.Text
		if i, again := first[key]; again && f.Severity == Unknown {
			all[i].What += ", " + f.What
			continue
		}
		if f.Severity == Unknown {
			first[key] = len(all)
		}
		all = append(all, f)
	}
	return all
}

func oneLine(s string) string { return strings.Join(strings.Fields(ui.Clean(s)), " ") }

// Count is how many findings have a severity.
func Count(found []Finding, severity Severity) int {
	n := 0
	for _, f := range found {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// FailsError says that a deployment would fail.
type FailsError struct{ Problems int }

func (e *FailsError) Error() string {
	if e.Problems == 1 {
		return "a deployment would fail: 1 problem"
	}
	return fmt.Sprintf("a deployment would fail: %d problems", e.Problems)
}

// Hint is what to do next.
func (e *FailsError) Hint() string { return "docs/doctor.md says what each check means" }

// Verdict is a *FailsError where there are problems.
func Verdict(found []Finding) error {
	if n := Problems(found); n > 0 {
		return &FailsError{Problems: n}
	}
	return nil
}
