package hostapi

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"ferry/internal/trouble"
)

type oldNix struct{}

func (oldNix) Error() string            { return "Nix is too old" }
func (oldNix) Hint() string             { return "upgrade it" }
func (oldNix) Section() trouble.Section { return trouble.OldNix }

// What an error says of itself reaches the operator, who can't see its type.
func TestFailuresKeepHintAndSection(t *testing.T) {
	f := FailureOf(fmt.Errorf("preparing: %w", oldNix{}))
	if f.Kind != KindFailed || f.Message != "preparing: Nix is too old" || f.Hint != "upgrade it" || f.See != trouble.OldNix {
		t.Errorf("%+v", f)
	}
	full := FailureOf(fmt.Errorf("noting it: %w", &os.PathError{Op: "write", Path: "/var/lib/ferry/x", Err: syscall.ENOSPC}))
	if full.See != trouble.DiskFull || full.Hint == "" {
		t.Errorf("%+v", full)
	}
	if plain := FailureOf(errors.New("x")); plain.Hint != "" || plain.See != "" {
		t.Errorf("%+v", plain)
	}
	refused := Refuse("no", "do this").About(trouble.Locked)
	if FailureOf(fmt.Errorf("web: %w", refused)) != refused {
		t.Error("a failure is not itself")
	}
	refused.See = trouble.Section(strings.Repeat("x", 1<<20))
	if b := refused.Bounded(); len(b.See) > maxHint+8 {
		t.Errorf("a section of %d bytes", len(b.See))
	}
}
