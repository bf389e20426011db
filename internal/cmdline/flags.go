package cmdline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/health"
)

const defaultWait = "30m"

// ValueSeparator joins the two values of an option of Nix that takes two, before the
// command line is parsed.
const ValueSeparator = "\x1f"

// AddWaitFlag is for commands that take the VM's lock.
func AddWaitFlag(cmd *cobra.Command, wait *time.Duration) {
	fs := cmd.Flags()
	fs.Var(&Duration{To: wait, Most: health.MaxTimeout}, "wait", "wait for another deployment of the VM to end, at most this long (--wait alone: 30m), instead of failing with exit code 5")
	fs.Lookup("wait").NoOptDefVal = defaultWait
}

// Duration is a time from a second up: `90s`, `2m`, or plain seconds.
type Duration struct {
	To   *time.Duration
	Most time.Duration
}

func (v *Duration) String() string {
	if v.To == nil || *v.To == 0 {
		return ""
	}
	return v.To.String()
}

func (v *Duration) Type() string { return "DURATION" }

func (v *Duration) Set(s string) error {
	d, err := time.ParseDuration(s)
	if n, aerr := strconv.Atoi(s); aerr == nil {
		d, err = time.Duration(min(max(n, -1), int(v.Most/time.Second)+1))*time.Second, nil
	}
	if err != nil {
		return errors.New("expected a time such as 30s or 2m")
	}
	if d < time.Second || d > v.Most {
		return fmt.Errorf("expected a time from 1s to %s", strings.TrimSuffix(v.Most.String(), "0m0s"))
	}
	*v.To = d
	return nil
}
