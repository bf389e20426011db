// Package ui prints: progress on stderr, data on stdout, as text or as JSON. It
// makes what comes from other machines harmless to a terminal. It must not know
// what a deployment is.
package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// UI is where a run prints. The zero value discards everything.
type UI struct {
	Out     io.Writer // data
	Err     io.Writer // progress and messages
	JSON    bool      // data as JSON, one object a line
	Verbose bool
	Colour  bool // of Err

	mu sync.Mutex
}

// New prints to the given streams; colour is used only on a terminal, and not
// where NO_COLOR is set or noColour is true.
func New(out, err io.Writer, noColour bool) *UI {
	u := &UI{Out: out, Err: err}
	if f, ok := err.(*os.File); ok && !noColour && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		u.Colour = term.IsTerminal(int(f.Fd()))
	}
	return u
}

const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	reset  = "\x1b[0m"
)

// Step reports progress of a subject (a VM), on stderr. Further lines are
// indented: text from another machine must not look like another message.
func (u *UI) Step(subject, format string, args ...any) {
	u.line(Clean(subject)+": ", bold, indented(format, args), "")
}

// Detail is a step that only --verbose shows.
func (u *UI) Detail(subject, format string, args ...any) {
	if u.Verbose {
		u.line(Clean(subject)+": ", dim, indented(format, args), dim)
	}
}

// Warn prints a warning on stderr.
func (u *UI) Warn(format string, args ...any) {
	u.line("warning: ", yellow, indented(format, args), "")
}

func indented(format string, args []any) string {
	return strings.ReplaceAll(cleanText(fmt.Sprintf(format, args...)), "\n", "\n  ")
}

// Error prints an error on stderr, with an optional hint and the end of a log.
func (u *UI) Error(message, hint string, log []string) {
	for _, l := range log {
		u.line("  | ", dim, Clean(l), "")
	}
	u.line("error: ", red, cleanText(message), "")
	if hint != "" {
		u.line("hint: ", bold, cleanText(hint), "")
	}
}

// More says behind an error where more is said about it.
func (u *UI) More(where string) { u.line("more: ", bold, cleanText(where), "") }

// Data prints v on stdout as one JSON line, with nothing in it that a terminal
// would act on.
func (u *UI) Data(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("printing the result: %w", err)
	}
	return u.write(u.Out, append(harmlessJSON(b), '\n'))
}

// Text prints text on stdout, made harmless.
func (u *UI) Text(text string) error { return u.write(u.Out, []byte(harmless(text))) }

// Log is a writer whose lines appear on stderr, each behind the subject. Close
// prints what came without a newline at its end.
func (u *UI) Log(subject string) io.WriteCloser {
	return &logWriter{ui: u, prefix: Clean(subject) + "> "}
}

func (u *UI) line(head, headColour, text, textColour string) {
	if u.Colour {
		head = headColour + head + reset
		if textColour != "" {
			text = textColour + text + reset
		}
	}
	_ = u.write(u.Err, []byte(head+text+"\n"))
}

func (u *UI) write(w io.Writer, b []byte) error {
	if w == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	_, err := w.Write(b)
	return err
}

type logWriter struct {
	ui     *UI
	prefix string
	mu     sync.Mutex
	rest   []byte
}

func (l *logWriter) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) > 0 {
		l.ui.line(l.prefix, dim, Clean(strings.TrimRight(string(l.rest), "\r")), "")
		l.rest = nil
	}
	return nil
}

func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) <= maxLine {
			return len(p), nil
		}
		cut := i + 1
		if i < 0 || i > maxLine {
			i, cut = maxLine, maxLine
		}
		l.ui.line(l.prefix, dim, Clean(strings.TrimRight(string(l.rest[:i]), "\r")), "")
		l.rest = l.rest[cut:]
	}
}
