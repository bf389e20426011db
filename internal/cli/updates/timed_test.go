package updates

import (
	"testing"

	"ferry/internal/timers"
)

// Timers that were set before http had to be asked for go on.
func TestEarlierTimersGoOnOverHTTP(t *testing.T) {
	const hydra = "http://hydra.example.org/jobset/a/b"
	no := false
	if _, _, err := timedUpdate(&timers.Update{Hydra: hydra}); err != nil {
		t.Errorf("an earlier timer: %v", err)
	}
	if _, _, err := timedUpdate(&timers.Update{Hydra: hydra, AllowHTTP: &no}); err == nil {
		t.Error("no error")
	}
}
