package plan

import (
	"fmt"
	"slices"
	"strings"

	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// HardwareChanges says what differs between the hardware of two runners, in words of
// the configuration; empty means that they differ at most in the system inside and in
// the tools that their scripts call. The records name what they know of (nil: nothing
// is known), the hypervisor's command line names the rest.
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
	var named []string
	if a.StoreDisk != b.StoreDisk && from.System == to.System {
		named = append(named, "store disk rebuilt")
	}
	differing := differingParts(a, b)
	if len(differing) == 0 {
		return named, nil
	}
	named = append(named, RecordChanges(fromRec, toRec)...)
	named = append(named, without(commandChanges(a, b), topicsOf(named))...)
	if len(named) == 0 && a.Command.Before != b.Command.Before {
		named = append(named, "what is done before the start (preStart, volumes) differs")
	}
	named = append(named, partChanges(a, b, differing, len(named) > 0)...)
	return bounded(named), nil
}

func differingParts(a, b runner.Fingerprint) []string {
	var out []string
	for _, part := range sortedKeys(a.Parts, b.Parts) {
		from, had := a.Parts[part]
		if to, has := b.Parts[part]; had != has || from != to {
			out = append(out, part)
		}
	}
	return out
}

// follow are parts that change with what is named otherwise: interfaces, devices and
// shares.
var follow = []string{
	"bin/microvm-run", "bin/tap-up", "bin/tap-down", "bin/macvtap-up", "bin/macvtap-down", "bin/pci-setup",
	"bin/virtiofsd-run", "share/microvm/",
}

// called is how a part is called for people.
var called = map[string]string{
	"bin/tap-up": "setup of tap interfaces", "bin/tap-down": "removal of tap interfaces",
	"bin/macvtap-up": "setup of macvtap interfaces", "bin/macvtap-down": "removal of macvtap interfaces",
	"bin/pci-setup": "setup of PCI devices", "bin/virtiofsd-run": "settings of virtiofsd",
	"bin/microvm-register": "registration with systemd-machined",
}

// partChanges names the files of the runner that differ. Those that follow from the
// configuration count only where nothing else was named.
func partChanges(a, b runner.Fingerprint, differing []string, named bool) []string {
	var out []string
	for _, part := range differing {
		follows := slices.ContainsFunc(follow, func(p string) bool { return part == p || strings.HasSuffix(p, "/") && strings.HasPrefix(part, p) })
		if follows && named {
			continue
		}
		from, had := a.Parts[part]
		to, has := b.Parts[part]
		name := called[part]
		switch {
		case name == "":
			out = append(out, argumentChanges(part, from, to))
		case !had:
			out = append(out, name+" is new")
		case !has:
			out = append(out, name+" is gone")
		default:
			out = append(out, fmt.Sprintf("%s changed (%s)", name, part))
		}
	}
	return out
}

const (
	maxShownArguments = 6
	maxShownChange    = 200 // characters
	maxShownChanges   = 24
)

// bounded keeps what runners say of themselves fit to be shown.
func bounded(changes []string) []string {
	more := len(changes) - maxShownChanges
	if more > 0 {
		changes = append(changes[:maxShownChanges:maxShownChanges], fmt.Sprintf("%d more differences", more))
	}
	for i, c := range changes {
		changes[i] = runner.Brief(c, maxShownChange)
	}
	return changes
}

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
