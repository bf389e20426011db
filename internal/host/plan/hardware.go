package plan

import (
	"fmt"
	"slices"
	"strings"

	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// HardwareChanges says what differs between the hardware of two runners, in
// words; empty means that they differ at most in the system inside. The records
// name the change where both are known (nil otherwise); else the differing
// arguments are shown.
func HardwareChanges(from, to runner.Runner, fromRec, toRec *microvm.Record) ([]string, error) {
	if from.Path == to.Path {
		return nil, nil
	}
	a, err := from.Fingerprint()
	if err != nil {
		return nil, err
	}
	b, err := to.Fingerprint()
	if err != nil {
		return nil, err
	}
	var differing []string
	for part := range a.Parts {
		if other, ok := b.Parts[part]; !ok || other != a.Parts[part] {
			differing = append(differing, part)
		}
	}
	for part := range b.Parts {
		if _, ok := a.Parts[part]; !ok {
			differing = append(differing, part)
		}
	}
	if len(differing) == 0 {
		return nil, nil
	}
	if named := RecordChanges(fromRec, toRec); len(named) > 0 {
		return named, nil
	}
	slices.Sort(differing)
	var out []string
	for _, part := range differing {
		out = append(out, argumentChanges(part, a.Parts[part], b.Parts[part]))
	}
	return out, nil
}

const maxShownArguments = 6

// argumentChanges shows the words of a script that only one side has.
func argumentChanges(part, from, to string) string {
	switch {
	case from == "":
		return part + " is new"
	case to == "":
		return part + " is gone"
	}
	gone, come := wordDifference(from, to), wordDifference(to, from)
	if len(gone)+len(come) == 0 {
		return part + " differs"
	}
	return fmt.Sprintf("%s: %s → %s", part, shorten(gone), shorten(come))
}

func wordDifference(a, b string) []string {
	count := map[string]int{}
	for w := range strings.FieldsSeq(b) {
		count[w]++
	}
	var out []string
	for w := range strings.FieldsSeq(a) {
		if count[w]--; count[w] < 0 {
			out = append(out, strings.Trim(w, `'"\`))
		}
	}
	return out
}

func shorten(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	more := ""
	if len(words) > maxShownArguments {
		words, more = words[:maxShownArguments], " …"
	}
	return strings.Join(words, " ") + more
}
