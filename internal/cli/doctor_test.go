package cli

import (
	"testing"

	"ferry/internal/flake"
	"ferry/internal/microvm"
)

func TestTargetOfDoctor(t *testing.T) {
	at := func(host string) *microvm.Address { return &microvm.Address{User: "root", Host: host} }
	fleet := flake.Fleet{VMs: map[microvm.Name]flake.VM{
		"web": {Target: at("web.example.com"), TargetSudo: true}, "bare": {}, "one": {Target: at("twice")}, "two": {Target: at("twice")},
	}}
	for word, want := range map[string]struct {
		address, vm string
		sudo        bool
	}{
		"web":                  {"root@web.example.com", "web", true},
		"root@web.example.com": {"root@web.example.com", "web", true},
		"bare":                 {"bare", "", false},
		"root@twice":           {"root@twice", "", false},
		"root@elsewhere":       {"root@elsewhere", "", false},
	} {
		for range 10 { // maps have no order
			g, err := guestOf(word, fleet)
			if err != nil || g.Address.String() != want.address || g.vm != want.vm || g.Sudo != want.sudo || g.Name != word {
				t.Fatalf("%s: %+v, %v", word, g, err)
			}
		}
	}
	if _, err := guestOf("-oProxyCommand=x", fleet); err == nil {
		t.Error("an option was taken as an address")
	}
}
