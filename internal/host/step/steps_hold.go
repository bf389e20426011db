//go:build faults

package step

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// The fault tests hold a helper before one of its steps: holdFile, which only
// root can write, names the step; heldFile then says which process is held. It
// goes on when holdFile is gone. Builds that users get can't be held.
const (
	holdFile = "/run/ferry-hold"
	heldFile = "/run/ferry-held"
)

func reach(step Step) {
	for first := true; ; first = false {
		want, err := os.ReadFile(holdFile)
		if err != nil || strings.TrimSpace(string(want)) != string(step) {
			return
		}
		if first {
			_ = os.WriteFile(heldFile, fmt.Appendf(nil, "%s %d\n", step, os.Getpid()), 0o600)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
