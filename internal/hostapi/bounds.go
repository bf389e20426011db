package hostapi

import (
	"strings"

	"ferry/internal/trouble"
)

const (
	// maxMessage bounds a reason in words, and maxLogLine a line of a log, in bytes.
	maxMessage = 32 << 10
	maxHint    = 4 << 10
	maxLogLine = 8 << 10
	// maxLogLines bounds the end of a log that shows why something failed.
	maxLogLines = 200
)

// Bounded is the failure as whoever asked takes it from a host that may be
// anybody's: no longer than it helps.
func (f *Failure) Bounded() *Failure {
	if f == nil {
		return nil
	}
	b := *f
	b.Kind, b.See = FailureKind(cut(string(f.Kind), maxHint)), trouble.Section(cut(string(f.See), maxHint))
	b.Message, b.Hint, b.State = cut(f.Message, maxMessage), cut(f.Hint, maxHint), cut(f.State, maxHint)
	b.Log = nil
	for _, line := range f.Log[max(0, len(f.Log)-maxLogLines):] {
		b.Log = append(b.Log, cut(line, maxLogLine))
	}
	return &b
}

// cut shortens a text, so that the rest of it can be freed.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(strings.Clone(s[:most]), "") + "…"
}
