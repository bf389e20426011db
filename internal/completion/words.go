package completion

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/ui"
)

// words are what is offered, each with what the shell may show beside it.
type words = []cobra.Completion

// line is a command line up to the word that is being completed.
type line struct {
	args   []string // without options
	begun  string   // of the word
	names  func() flake.Outline
	inputs func() []string
}

const maxAbout = 80 // characters

// Word is a word with a description, which is text from elsewhere.
func Word(word, description string) cobra.Completion {
	description = strings.Join(strings.Fields(ui.Clean(description)), " ")
	if r := []rune(description); len(r) > maxAbout {
		description = string(r[:maxAbout-1]) + "…"
	}
	return cobra.CompletionWithDesc(word, description)
}

// vms are the VMs that the line doesn't name yet.
func (l line) vms() words {
	var found words
	for _, name := range slices.Sorted(maps.Keys(l.names().VMs)) {
		if vm := l.names().VMs[name]; !slices.Contains(l.args, string(name)) {
			found = append(found, Word(string(name), describe(vm)))
		}
	}
	return found
}

func describe(vm flake.OutlinedVM) string {
	var parts []string
	if vm.Host != "" {
		parts = append(parts, "on "+vm.Host)
	}
	if len(vm.Tags) > 0 {
		parts = append(parts, "tags: "+strings.Join(vm.Tags, ", "))
	}
	return strings.Join(parts, "; ")
}

// hosts are the names of hosts; their addresses where an address was begun.
func (l line) hosts() words {
	if strings.ContainsAny(l.begun, "@:") {
		return l.addresses()
	}
	found := words{}
	for _, name := range slices.Sorted(maps.Keys(l.names().Hosts)) {
		if !slices.Contains(l.args, name) {
			found = append(found, Word(name, l.names().Hosts[name].String()))
		}
	}
	return append(found, thisMachine())
}

// addresses are those of hosts, the one of the VM that the line names first.
func (l line) addresses() words {
	own := ""
	if len(l.args) > 0 {
		own = l.names().VMs[microvm.Name(l.args[0])].Host
	}
	names := slices.SortedFunc(maps.Keys(l.names().Hosts), func(a, b string) int {
		return cmp.Or(first(a == own, b == own), cmp.Compare(a, b))
	})
	found := words{}
	for _, name := range names {
		if a := l.names().Hosts[name]; !a.Local {
			found = append(found, Word(a.String(), name))
		}
	}
	return append(found, thisMachine())
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func thisMachine() cobra.Completion { return Word("local", "this machine") }

// targets are the addresses of systems inside VMs: that of the VM that the line
// names; of all where it names none that has one.
func (l line) targets() words {
	if len(l.args) > 0 {
		if t := l.names().VMs[microvm.Name(l.args[0])].Target; t != nil {
			return words{Word(t.String(), l.args[0])}
		}
	}
	var found words
	for _, name := range slices.Sorted(maps.Keys(l.names().VMs)) {
		if t := l.names().VMs[name].Target; t != nil {
			found = append(found, Word(t.String(), string(name)))
		}
	}
	return found
}

func (l line) flakeInputs() words {
	var found words
	for _, name := range l.inputs() {
		if !slices.Contains(l.args, name) {
			found = append(found, name)
		}
	}
	return found
}

func actions(of ...hostapi.Action) words {
	meaning := map[hostapi.Action]string{
		hostapi.ActionSwitch:      "activate and install",
		hostapi.ActionBoot:        "install only",
		hostapi.ActionTest:        "activate until the next boot",
		hostapi.ActionDryActivate: "show what a switch would do",
	}
	var found words
	for _, a := range of {
		found = append(found, Word(string(a), meaning[a]))
	}
	return found
}
