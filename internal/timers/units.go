package timers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Kind is one of the two timers.
type Kind string

// The kinds, also the words of `ferry host timer`.
const (
	KindUpdate      Kind = "update"
	KindFlakeUpdate Kind = "flake-update"
)

// Schedule is when a timer fires.
type Schedule struct {
	OnCalendar []string      `json:"onCalendar"` // systemd.time(7), at least one
	Delay      time.Duration `json:"delay"`      // a random time up to this is waited before
}

// program is the ferry that timers run: the one that `ferry host setup` installs.
const program = "/usr/local/bin/ferry"

const unitDir = "/etc/systemd/system"

func (k Kind) other() Kind {
	if k == KindUpdate {
		return KindFlakeUpdate
	}
	return KindUpdate
}

func (k Kind) service() string { return "ferry-" + string(k) + ".service" }
func (k Kind) timer() string   { return "ferry-" + string(k) + ".timer" }

func (k Kind) description() string {
	if k == KindFlakeUpdate {
		return "Update the flake of MicroVMs for CI to build"
	}
	return "Update MicroVMs"
}

// marker begins the files that are ferry's; behind it stands a checksum of the
// rest, so that a file that somebody changed is known.
const marker = "# Made by `ferry host timer`; adapt it with `systemctl edit`. "

func signed(content string) string {
	sum := sha256.Sum256([]byte(content))
	return marker + hex.EncodeToString(sum[:]) + "\n" + content
}

// ours reports whether a unit file is as ferry made it.
func ours(file []byte) bool {
	_, rest, ok := strings.Cut(string(file), "\n")
	return ok && signed(rest) == string(file)
}

func (k Kind) serviceFile() string {
	return signed(fmt.Sprintf(`[Unit]
Description=%s
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=%s host timer run %s
Environment=HOME=/root
`, k.description(), program, k))
}

func (k Kind) timerFile(s Schedule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Unit]\nDescription=%s\n\n[Timer]\n", k.description())
	for _, c := range s.OnCalendar {
		fmt.Fprintf(&b, "OnCalendar=%s\n", c)
	}
	if s.Delay > 0 {
		fmt.Fprintf(&b, "RandomizedDelaySec=%d\n", int(s.Delay.Seconds()))
	}
	b.WriteString("AccuracySec=1s\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n")
	return signed(b.String())
}
