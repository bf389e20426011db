package cli

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"ferry/internal/ui"
)

// Nothing but a yes is one, and a question is asked once in a run; where stderr is
// no terminal nobody is asked at all.
func TestConfirmation(t *testing.T) {
	for answer, want := range map[string]bool{"y": true, " Yes ": true, "": false, "n": false, "yess": false, "ok": false} {
		if isYes(answer) != want {
			t.Errorf("%q", answer)
		}
	}
	asked := 0
	ask := onceEach(func(_ context.Context, q string) (bool, error) {
		asked++
		if q == "broken" {
			return true, errors.New("interrupted")
		}
		return q == "a", nil
	})
	for range 2 {
		if yes, err := ask(t.Context(), "a"); !yes || err != nil {
			t.Error(yes, err)
		}
		if yes, err := ask(t.Context(), "b"); yes || err != nil {
			t.Error(yes, err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	if _, err := ask(t.Context(), "broken"); err == nil {
		t.Error("no error")
	}
	var out bytes.Buffer
	if a := (&app{err: &out, ui: ui.New(&out, &out, false)}); a.confirmer() != nil {
		t.Error("somebody would be asked who can't see it")
	}
}
