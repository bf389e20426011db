package target

import (
	"fmt"
	"strings"
	"testing"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

var (
	host1 = microvm.Address{User: "root", Host: "host1"}
	web   = microvm.Address{User: "root", Host: "web"}
)

const (
	running  = microvm.StorePath("/nix/store/00000000000000000000000000000000-running")
	stranger = microvm.StorePath("/nix/store/11111111111111111111111111111111-stranger")
)

// answered is a knock that has ended.
func answered(who guest.Identity, err error) *Knock {
	k := &Knock{stop: func() {}, done: make(chan struct{}), who: who, err: err}
	close(k.done)
	return k
}

// A name that the machine itself announces is not there before it boots.
func TestNamesByMulticastAreUnknownWhileDown(t *testing.T) {
	for host, refused := range map[string]bool{"web.local": false, "web.example.com": true} {
		to := web
		to.Host = host
		err := Sought{Target: &to}.NeverRight(&remote.ConnectError{Kind: remote.Unreachable, Stderr: "ssh: Could not resolve hostname " + host})
		if (err != nil) != refused {
			t.Errorf("%s: %v", host, err)
		}
	}
}

type warnings []string

func (w *warnings) Warn(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) }

// What has answered is held against what the host says of the VM's unit.
func TestAnswerIsJudgedByTheUnit(t *testing.T) {
	refuses := &remote.ConnectError{Kind: remote.AuthFailed, Stderr: "Permission denied (publickey)"}
	silent := &remote.ConnectError{Kind: remote.Unreachable, Stderr: "Connection refused"}
	for name, c := range map[string]struct {
		unit    string // its ActiveState
		who     guest.Identity
		err     error
		refused string // part of the message; empty: it is not refused
		warned  bool
	}{
		"down, nobody answers":   {"inactive", guest.Identity{}, silent, "", false},
		"down, somebody answers": {"inactive", guest.Identity{HostName: "web"}, nil, `web does not run on root@host1, but a machine answers at root@web: it calls itself "web"`, false},
		"down, somebody refuses": {"failed", guest.Identity{}, refuses, "but a machine answers", false},
		"on its way":             {"activating", guest.Identity{HostName: "db"}, nil, "", false},
		"up, by its name":        {"active", guest.Identity{HostName: "web", Current: stranger}, nil, "", false},
		"up, by its system":      {"active", guest.Identity{HostName: "old", Current: running}, nil, "", false},
		"up, neither":            {"active", guest.Identity{HostName: "db", Current: stranger}, nil, `calls itself "db", but web is configured as "web"`, false},
		"up, nobody answers":     {"active", guest.Identity{}, silent, "", true},
	} {
		var w warnings
		m := Meeting{
			Sought: Sought{Name: "web", Attribute: "web", Host: &host1, Target: &web, HostName: "web",
				VM: hostapi.VMState{Exists: true, Running: running, Unit: hostapi.UnitState{ActiveState: c.unit}}},
			Knock: answered(c.who, c.err), Report: &w,
		}
		err := m.Right(t.Context())
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) || (len(w) > 0) != c.warned {
			t.Errorf("%s: %v, %q", name, err, w)
		}
	}
}

// Before a deployment ends as unchanged, the guest says what it runs, or ferry says
// why that isn't known.
func TestObserveSaysWhatIsNotKnown(t *testing.T) {
	m := Meeting{Sought: Sought{Target: &web, Attribute: "web", HostName: "web"}}
	for name, c := range map[string]struct {
		who     guest.Identity
		err     error
		unknown string
		wrong   bool
	}{
		"it says":                {guest.Identity{HostName: "web", Current: running}, nil, "", false},
		"outside the store":      {guest.Identity{HostName: "web"}, nil, "outside the store", false},
		"no login":               {guest.Identity{}, fmt.Errorf("first\nsecond"), "first", false},
		"the machine is another": {guest.Identity{HostName: "db", Current: stranger}, nil, "", true},
	} {
		m.Knock = answered(c.who, c.err)
		system, unknown, err := m.Observe(t.Context())
		if (err != nil) != c.wrong || !strings.Contains(unknown, c.unknown) || (c.unknown == "") != (unknown == "") || strings.Contains(unknown, "\n") {
			t.Errorf("%s: %q, %q, %v", name, system, unknown, err)
		}
		if c.unknown == "" && system != c.who.Current {
			t.Errorf("%s: %q", name, system)
		}
	}
}

// Nothing but an address of another machine is a hint.
func TestHintIsAnAddressElsewhere(t *testing.T) {
	if h, err := ParseHint("root@web", true); err != nil || h.Address != web || h.String() != "root@web (with sudo)" {
		t.Errorf("%+v, %v", h, err)
	}
	for _, bad := range []string{"local", "-oProxyCommand=x", "a b"} {
		if h, err := ParseHint(bad, false); err == nil {
			t.Errorf("%q: %+v", bad, h)
		}
	}
}

// A host may have recorded anything: what is taken for an address is one that ferry
// could write itself.
func FuzzParseHint(f *testing.F) {
	for _, s := range []string{"root@web", "local", "root@[fd00::1]:22", "-oProxyCommand=x", "a b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHint(s, false)
		if err != nil {
			return
		}
		again, err := microvm.ParseAddress(h.String())
		if err != nil || again != h.Address || h.Address.Local {
			t.Errorf("%q: %+v, then %+v, %v", s, h, again, err)
		}
	})
}
