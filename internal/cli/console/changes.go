package console

import (
	"strings"

	"ferry/internal/host/setup"
	"ferry/internal/ui"
)

// ChangeVerb is what was done to a part of a host, or would be.
func ChangeVerb(verb string, outcome setup.Outcome) string {
	if outcome == setup.OutcomePlanned {
		return verb
	}
	return map[string]string{setup.Create: "created", setup.Update: "updated", setup.Remove: "removed", setup.Keep: "kept"}[verb]
}

// WriteDiff writes what would change in a file, indented.
func WriteDiff(b *strings.Builder, c setup.Change) {
	for line := range strings.Lines(c.Diff) {
		b.WriteString("    " + ui.Clean(strings.TrimRight(line, "\n")) + "\n")
	}
}
