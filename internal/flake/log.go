package flake

import (
	"io"
	"strings"
	"sync"
)

// onceWriter passes on lines that Nix writes to stderr, each text once although
// several commands look at the same flake, and without its error messages: those
// come back as an error. It expects one line per Write (nix.Nix.Log).
type onceWriter struct {
	to io.Writer

	mu      sync.Mutex
	seen    map[string]bool
	inError bool
}

const maxSeenLines = 4096

func (w *onceWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := string(p)
	switch {
	case strings.HasPrefix(line, "error:"):
		w.inError = true
	case w.inError && (strings.HasPrefix(line, " ") || strings.TrimSpace(line) == ""):
	default:
		w.inError = false
	}
	if w.inError || w.to == nil || w.seen[line] {
		return len(p), nil
	}
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	if len(w.seen) < maxSeenLines {
		w.seen[line] = true
	}
	_, _ = io.WriteString(w.to, line)
	return len(p), nil
}
