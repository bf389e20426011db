package terminal

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"ferry/internal/remembered"
)

// Nothing but a yes is one, and a question is asked once in a run; where stderr is
// no terminal nobody is asked at all, and it is no.
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
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	if yes, err := Confirmer(&out)(t.Context(), "q"); yes || err != nil || out.Len() > 0 {
		t.Errorf("somebody was asked who can't see it: %t, %v, %s", yes, err, &out)
	}
}

// A yes is remembered, for that very question; a no is not.
func TestConfirmationsAreRemembered(t *testing.T) {
	s := remembered.Store{Dir: filepath.Join(t.TempDir(), "targets")}
	asked := 0
	ask := remembering(s, func(_ context.Context, q string) (bool, error) { asked++; return q == "good", nil })
	for _, q := range []string{"good", "bad"} {
		for range 2 {
			if yes, err := ask(t.Context(), q); yes != (q == "good") || err != nil {
				t.Errorf("%s: %t, %v", q, yes, err)
			}
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
	none := remembering(remembered.Store{}, func(context.Context, string) (bool, error) { return false, nil })
	if yes, err := none(t.Context(), "good"); yes || err != nil {
		t.Error("what nobody has said is remembered")
	}
}
