package cmdline

import (
	"errors"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/trouble"
	"ferry/internal/ui"
)

// The exit codes, the same for all commands.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitSome        = 3 // failed, others done
	ExitRolledBack  = 4
	ExitLocked      = 5
	ExitInterrupted = 130
)

// ExitCodes ends every command's help.
const ExitCodes = `Exit codes: 0 done; 1 failed; 2 wrong usage; 3 some failed, others done;
4 failed and rolled back; 5 locked by another deployment; 130 interrupted.`

// UsageError is a command line that is wrong.
type UsageError struct {
	Err  error
	Next string // what to do
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Hint is what to do next.
func (e *UsageError) Hint() string { return e.Next }

// ExitCode maps an error to the exit code that scripts rely on. That some VMs
// failed and others are done an error says itself, by a method SomeDone.
func ExitCode(err error) int {
	var usage *UsageError
	var some interface{ SomeDone() bool }
	var failure *hostapi.Failure
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &some) && some.SomeDone():
		return ExitSome
	case errors.As(err, &failure) && failure.RolledBack:
		return ExitRolledBack
	case errors.As(err, &failure) && failure.Kind == hostapi.KindLocked:
		return ExitLocked
	}
	return ExitFailed
}

// Explained is an error as a person is told it.
type Explained struct {
	Message string
	State   string // how things are; may be empty
	Hint    string
	Log     []string        // the end of the log that shows why
	See     trouble.Section // of docs/troubleshooting.md; may be empty
}

// Explain says once what is wrong, how things are where work was done in this
// very process, and what to do next.
func Explain(err error) Explained {
	var failure *hostapi.Failure
	e := Explained{Message: saidOnce(err.Error()), See: trouble.Of(err)}
	if errors.As(err, &failure) {
		e.Log, e.Hint, e.State = failure.Log, failure.Hint, failure.State
	}
	if e.Hint == "" {
		e.Hint = trouble.Hint(err)
	}
	return e
}

// Print prints it.
func (e Explained) Print(to *ui.UI) {
	if e.State != "" {
		e.Message += "\n" + e.State
	}
	to.Error(e.Message, e.Hint, e.Log)
}

// saidOnce drops a subject before a message that begins with the same subject:
// "web: web has no generation 7". Each layer names what it is about, since it
// doesn't know who else does.
func saidOnce(message string) string {
	for {
		subject, rest, ok := strings.Cut(message, ": ")
		after, same := strings.CutPrefix(rest, subject)
		if !ok || !same || subject == "" || strings.Contains(subject, " ") || !strings.HasPrefix(after, " ") && !strings.HasPrefix(after, ": ") {
			return message
		}
		message = rest
	}
}
