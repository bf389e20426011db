package microvm

import (
	"strings"
	"testing"
)

func TestLiveObstacle(t *testing.T) {
	yes, no := true, false
	shared := []Share{{Source: "/srv", Tag: "srv"}, {Source: StoreDir, Tag: "ro-store"}}
	for _, c := range []struct {
		name   string
		record Record
		want   string // a part of the reason; empty: switchable
	}{
		{"all there", Record{System: &Output{}, Shares: shared, SSH: &yes}, ""},
		{"switching said to be on", Record{System: &Output{}, Shares: shared, SSH: &yes, SwitchEnabled: &yes}, ""},
		{"no system", Record{Shares: shared, SSH: &yes}, "toplevel"},
		{"no share of the store", Record{System: &Output{}, Shares: shared[:1], SSH: &yes}, "/nix/store"},
		{"sshd unknown", Record{System: &Output{}, Shares: shared}, "openssh"},
		{"sshd off", Record{System: &Output{}, Shares: shared, SSH: &no}, "openssh"},
		{"switching off", Record{System: &Output{}, Shares: shared, SSH: &yes, SwitchEnabled: &no}, "system.switch.enable"},
	} {
		got := c.record.LiveObstacle()
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
