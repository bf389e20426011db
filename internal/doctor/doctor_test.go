package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
	"ferry/internal/trouble"
)

// wants fails the test unless a check has come to that, with this in its text; and
// unless all findings are of checks that exist, once each.
func wants(t *testing.T, found []Finding, where Where, what string, severity Severity, text string) {
	t.Helper()
	seen := map[string]bool{}
	var is *Finding
	for i, f := range found {
		if !slices.Contains(Checks(), Check{f.Where, f.What}) || f.Where != where || seen[f.What] || f.Text == "" {
			t.Errorf("odd: %+v", f)
		}
		if seen[f.What] = true; f.What == what {
			is = &found[i]
		}
	}
	if is == nil || is.Severity != severity || !strings.Contains(is.Text+is.Cure, text) {
		t.Errorf("wanted %s %s %q: %+v", what, severity, text, is)
	}
}

var (
	now  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	root = remote.Login{Began: true, UID: "0", User: "root", Sudo: "root"}
)

// well is a host on which nothing is wrong.
func well() HostFacts {
	return HostFacts{Machine: "server", Asked: now.Add(-time.Second), Answered: now.Add(time.Second), Login: root, Target: true, Examined: hostapi.Examined{
		Now: now, Systemd: "257", Nix: hostapi.ExaminedNix{Version: "nix (Nix) 2.26.3", OnPath: true, Socket: true, Daemon: true, TrustedUsers: []string{"root"}},
		Disks: []hostapi.Disk{
			{Use: "store", Path: "/nix/store", Free: 100 * gib, Size: 200 * gib, FreeInodes: 1e6, Inodes: 2e6},
			{Use: "state", Path: "/var/lib/microvms", Free: 100 * gib}, {Use: "ferry", Path: "/var/lib/ferry", Free: 100 * gib},
		},
		KVM: hostapi.ExaminedKVM{Present: true, Group: true}, SSHD: hostapi.ExaminedSSHD{MaxSessions: 10, MaxStartups: "10:30:100"},
		Setup: hostapi.ExaminedSetup{Outcome: "unchanged"},
		Unit:  hostapi.ExaminedUnit{File: "/etc/systemd/system/microvm@.service", Waits: true, Settle: true, User: true, Group: true},
		State: hostapi.ExaminedState{Path: "/var/lib/microvms", Mode: "owner 0:0, mode 0755", Protected: true},
		VMs:   []hostapi.ExaminedVM{{Name: "web", State: "running"}},
		Door:  hostapi.ExaminedDoor{Asked: "10.0.0.5:22", Reached: true},
	}}
}

func TestHost(t *testing.T) {
	disk := func(i int, change func(*hostapi.Disk)) func(*HostFacts) {
		return func(f *HostFacts) { change(&f.Disks[i]) }
	}
	for _, c := range []struct {
		name, what string
		severity   Severity
		text       string
		change     func(*HostFacts)
	}{
		{"a little late", "clock", Note, "differ by 29s", func(f *HostFacts) { f.Now = now.Add(30 * time.Second) }},
		{"yesterday", "clock", Warning, "differ by 23h59m59s", func(f *HostFacts) { f.Now = now.Add(-24 * time.Hour) }},
		{"no clock", "clock", Unknown, "", func(f *HostFacts) { f.Now = time.Time{} }},
		{"no Nix", "nix", Problem, "install Nix", func(f *HostFacts) { f.Nix = hostapi.ExaminedNix{Missing: true} }},
		{"old Nix", "nix", Problem, "has Nix 2.8pre", func(f *HostFacts) { f.Nix.Version = "nix (Nix) 2.8.0pre" }},
		{"odd Nix", "nix", Warning, "is not a version of Nix", func(f *HostFacts) { f.Nix.Version = "\x1b[2J" }},
		{"dead daemon", "nix-daemon", Warning, "does not answer", func(f *HostFacts) { f.Nix.Daemon = false }},
		{"no daemon", "nix-daemon", OK, "root uses the store itself", func(f *HostFacts) { f.Nix.Socket = false }},
		{"off the PATH", "path", Note, "/etc/environment", func(f *HostFacts) { f.Nix.OnPath = false }},
		{"untrusted", "trusted-user", Note, "does not trust her", func(f *HostFacts) { f.Login = remote.Login{User: "her", Sudo: "quiet"} }},
		{"trusted by group", "trusted-user", OK, "trusts her", func(f *HostFacts) {
			f.Login, f.Nix.TrustedUsers = remote.Login{User: "her", Groups: []string{"wheel"}}, []string{"root", "@wheel"}
		}},
		{"trusted by name", "trusted-user", OK, "trusts her", trusting("her")},
		{"everybody is trusted", "trusted-user", OK, "trusts her", trusting("*")},
		{"a group of her name", "trusted-user", Note, "", trusting("@her")},
		{"a user with the name of her group", "trusted-user", Note, "", trusting("wheel")},
		{"sshd says nothing", "sshd", Unknown, "neither", func(f *HostFacts) { f.SSHD = hostapi.ExaminedSSHD{} }},
		{"sshd says one thing", "sshd", OK, "", func(f *HostFacts) { f.SSHD.MaxStartups = "" }},
		{"what a full store takes", "store-space", Problem, "nix-collect-garbage", disk(0, func(d *hostapi.Disk) { d.Free = 0 })},
		{"what a full state directory takes", "state-space", Problem, "free some space there", disk(1, func(d *hostapi.Disk) { d.Free = 0 })},
		{"nobody is named", "trusted-user", Unknown, "", func(f *HostFacts) { f.Login, f.Nix.TrustedUsers = remote.Login{User: "her"}, nil }},
		{"store read-only", "store-disk", Problem, "/nix/store is read-only", disk(0, func(d *hostapi.Disk) { d.ReadOnly = true })},
		{"store full", "store-space", Problem, "99 MiB", disk(0, func(d *hostapi.Disk) { d.Free = 99 * mib })},
		{"store low", "store-space", Warning, "1024 MiB", disk(0, func(d *hostapi.Disk) { d.Free = gib })},
		{"no inodes", "store-space", Problem, "7 inodes", disk(0, func(d *hostapi.Disk) { d.FreeInodes = 7 })},
		{"few inodes", "store-space", Warning, "", disk(0, func(d *hostapi.Disk) { d.FreeInodes = 10_000 })},
		{"store unknown", "store-space", Unknown, "stale", disk(0, func(d *hostapi.Disk) { d.Why = "stale file handle" })},
		{"ferry's own full", "state-space", Problem, "/var/lib/ferry", disk(2, func(d *hostapi.Disk) { d.Free = 0 })},
		{"state read-only", "state-disk", Problem, "/var/lib/microvms", disk(1, func(d *hostapi.Disk) { d.ReadOnly = true })},
		{"disks that it names twice", "store-disk", Problem, "", func(f *HostFacts) {
			f.Disks[0].ReadOnly = true
			f.Disks = append(f.Disks, f.Disks...)
		}},
		{"no disks", "state-space", Unknown, "", func(f *HostFacts) { f.Disks = nil }},
		{"a look failed", "kvm", Unknown, "permission denied", func(f *HostFacts) { f.Unknown = map[string]string{"kvm": "permission denied"} }},
		{"no systemd", "systemd", Problem, "does not answer", func(f *HostFacts) { f.Unknown = map[string]string{"systemd": "systemd does not answer"} }},
		{"no KVM", "kvm", Note, "emulated", func(f *HostFacts) { f.KVM = hostapi.ExaminedKVM{} }},
		{"KVM is root's", "kvm", Warning, "chgrp kvm", func(f *HostFacts) { f.KVM.Group = false }},
		{"one session", "sshd", Problem, "MaxSessions 10", func(f *HostFacts) { f.SSHD.MaxSessions = 1 }},
		{"no session", "sshd", Problem, "MaxSessions is 0", func(f *HostFacts) { f.SSHD.MaxSessions = -1 }},
		{"few sessions", "sshd", Warning, "MaxSessions is 4", func(f *HostFacts) { f.SSHD.MaxSessions = 4 }},
		{"few startups", "sshd", Note, "MaxStartups 2:50:4", func(f *HostFacts) { f.SSHD.MaxStartups = "2:50:4" }},
		{"no host", "units", Problem, "ferry host setup server", func(f *HostFacts) { f.Unit.File = "" }},
		{"a NixOS that is no host", "units", Problem, "microvm.nixosModules.host", func(f *HostFacts) { f.Unit.File, f.NixOS = "", true }},
		{"drop-ins", "units", Note, "mine.conf", func(f *HostFacts) { f.Unit.DropIns = []string{"/etc/systemd/system/microvm@.service.d/mine.conf"} }},
		{"microvm.nix's units", "units", OK, "not ferry's own", func(f *HostFacts) { f.Setup.Outcome = "not ours" }},
		{"units that kill", "unit-stop", Warning, "`ferry stop`", func(f *HostFacts) { f.Unit.Waits = false }},
		{"nothing settles", "settle", Warning, "not enabled", func(f *HostFacts) { f.Unit.Settle = false }},
		{"no user", "users", Problem, "", func(f *HostFacts) { f.Unit.User = false }},
		{"a unit that failed", "failed-units", Warning, "journalctl -u UNIT;", func(f *HostFacts) { f.Unit.Failed = []string{"ferry-$(reboot).service"} }},
		{"parts missing", "setup", Warning, "missing: ferry-settle.service", func(f *HostFacts) {
			f.Setup = hostapi.ExaminedSetup{Outcome: "planned", Changes: []hostapi.ExaminedThing{{Verb: "create", Name: "/x/ferry-settle.service"}}}
		}},
		{"set up by another version", "setup", Note, "otherwise: ferry-helper", func(f *HostFacts) {
			f.Setup = hostapi.ExaminedSetup{Outcome: "planned", Changes: []hostapi.ExaminedThing{{Verb: "update", Name: "/usr/local/bin/ferry-helper"}}}
		}},
		{"a unit that was edited", "setup", Note, "microvm@.service (changed)", func(f *HostFacts) {
			f.Setup.Changes = []hostapi.ExaminedThing{{Verb: "keep", Name: "/x/microvm@.service", Note: "changed"}}
		}},
		{"setup refuses", "setup", Warning, "old systemd", func(f *HostFacts) { f.Setup = hostapi.ExaminedSetup{Refused: "old systemd"} }},
		{"microvm.nix's directory", "state-dir", Note, "docs/security.md", func(f *HostFacts) { f.State.Protected = false }},
		{"no VM yet", "owners", OK, "no VMs", func(f *HostFacts) { f.State.Mode = "" }},
		{"somebody else's link", "owners", Warning, "takes back", func(f *HostFacts) { f.State.Strays = []string{"/var/lib/microvms/web/current (uid 7)"} }},
		{"somebody else's link in another VM", "owners", Warning, "", func(f *HostFacts) {
			f.VM, f.State.Strays = "we", []string{"/var/lib/microvms/web/current (uid 7)"}
		}},
		{"somebody else's link in the target's VM", "owners", Problem, "", func(f *HostFacts) {
			f.VM, f.State.Strays = "web", []string{"/var/lib/microvms/web/current (uid 7)"}
		}},
		{"the target's VM is somebody else's", "owners", Problem, "", func(f *HostFacts) { f.VM, f.State.Strays = "web", []string{"/var/lib/microvms/web (owner 7)"} }},
		{"a VM with a problem", "vms", Warning, "web: bad link", func(f *HostFacts) { f.VMs[0].Problem = "bad link" }},
		{"left", "unsettled", Warning, "web (deployment 1 by her: no room)", func(f *HostFacts) {
			f.Left.Notes = []hostapi.LeftNote{{VM: "web", Deployment: "1", By: "her", Why: "no room"}, {VM: "db", Deployment: "2", Working: true}}
		}},
		{"under way", "unsettled", Note, "db (deployment 2)", func(f *HostFacts) { f.Left.Notes = []hostapi.LeftNote{{VM: "db", Deployment: "2", Working: true}} }},
		{"dangling", "roots", Note, "a, b, c, d, e and 2 more", func(f *HostFacts) { f.Left.Dangling = strings.Split("abcdefg", "") }},
		{"uploads", "helpers", Note, "tmp.1", func(f *HostFacts) { f.Left.Uploads = []string{"tmp.1"} }},
		{"the host does not reach the guest", "target", Warning, "no route", func(f *HostFacts) { f.Door = hostapi.ExaminedDoor{Asked: "x", Why: "no route"} }},
		{"through a jump host", "target", Note, "proxyjump", func(f *HostFacts) { f.NoDoor = "proxyjump" }},
		{"one session by the configuration only", "sshd", Warning, "though several commands run", func(f *HostFacts) { f.SSHD.MaxSessions, f.Sessions = 1, true }},
		{"one session, and this machine is the host", "sshd", OK, "", func(f *HostFacts) { f.SSHD.MaxSessions, f.Local = 1, true }},
		{"nothing settles on NixOS", "settle", Warning, "ferry.nixosModules.host", func(f *HostFacts) { f.Unit.Settle, f.NixOS = false, true }},
		{"no user on NixOS", "users", Problem, "microvm.nixosModules.host", func(f *HostFacts) { f.Unit.User, f.NixOS = false, true }},
		{"microvm.nix's directory on NixOS", "state-dir", Note, "ferry.host.protectStateDir", func(f *HostFacts) { f.State.Protected, f.NixOS = false, true }},
		{"somebody else's link on NixOS", "owners", Warning, "ferry-protect-state-dir", func(f *HostFacts) {
			f.NixOS, f.State.Strays = true, []string{"/var/lib/microvms/web/current (uid 7)"}
		}},
		{"the target's VM is the host's own", "vms", Problem, "declared by the host", func(f *HostFacts) { f.VM, f.VMs[0].Declared = "web", true }},
		{"another VM is the host's own", "vms", OK, "", func(f *HostFacts) { f.VM, f.VMs[0].Declared = "we", true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := well()
			c.change(&f)
			for _, found := range JudgeHost(f) {
				if f.NixOS && strings.Contains(found.Cure, "ferry host setup") {
					t.Errorf("there is no `ferry host setup` on NixOS: %+v", found)
				}
			}
			wants(t, JudgeHost(f), Host, c.what, c.severity, c.text)
		})
	}
	for _, f := range JudgeHost(well()) {
		if f.Severity != OK {
			t.Errorf("a host that is well: %+v", f)
		}
	}
}

// Every check that rests on the helper's answer is made, whatever is in it, and the
// answer of a host that says nothing at all is not taken for a host that is well.
func TestHostThatSaysNothing(t *testing.T) {
	all := map[string]string{}
	for _, look := range []string{"systemd", "nix", "disks", "kvm", "sshd", "setup", "unit", "state", "left", "vms", "newest", "door"} {
		all[look] = "no"
	}
	for name, f := range map[string]HostFacts{
		"nothing": {Target: true}, "unknown": {Target: true, Examined: hostapi.Examined{Unknown: all}}, "well": well(),
	} {
		found := JudgeHost(f)
		for _, what := range ofExamined() {
			if !slices.ContainsFunc(found, func(f Finding) bool { return f.What == what }) {
				t.Errorf("%s: %s was not judged", name, what)
			}
		}
		if name != "well" && Problems(found) == 0 {
			t.Errorf("%s: no problem: %+v", name, found)
		}
	}
}

// What a host sends is bounded in what is printed of it.
func TestFindingsAreBounded(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	f := well()
	f.Systemd, f.Left.Dangling, f.State.Strays, f.Unknown = long, []string{long}, []string{long, long}, map[string]string{"kvm": long}
	for _, c := range JudgeHost(f) {
		if len(c.Text)+len(c.Cure) > 3*maxText {
			t.Errorf("%s: %d bytes", c.What, len(c.Text)+len(c.Cure))
		}
	}
}

func TestLogins(t *testing.T) {
	her := remote.Login{Began: true, UID: "7", User: "her"}
	for _, c := range []struct {
		what     string
		severity Severity
		text     string
		found    []Finding
	}{
		{"login-endless", Problem, `beginning with "hi"`, JudgeLogin(Host, "h", remote.Login{Endless: true, Noise: 70_000, First: "hi\nho"}, time.Minute)},
		{"login-slow", Problem, "within 1m0s", JudgeLogin(Host, "h", remote.Login{Late: true}, time.Minute)},
		{"login-slow", Warning, "takes 12s", JudgeLogin(Host, "h", remote.Login{Began: true, UID: "0", After: 12 * time.Second}, time.Minute)},
		{"login-noise", Problem, `prints 3 bytes before a command ("hi")`, JudgeLogin(Host, "h", remote.Login{Began: true, UID: "0", Noise: 3, First: "hi\n"}, time.Minute)},
		{"login-noise", OK, "nothing", JudgeLogin(Host, "h", root, time.Minute)},
		{"login-shell", Problem, "does not run", JudgeLogin(Host, "h", remote.Login{}, time.Minute)},
		{"login-shell", Problem, "no such shell", JudgeLogin(Host, "h", remote.Login{Err: errors.New("no such shell")}, time.Minute)},
		{"root", OK, "", JudgeRoot(Host, "h", root, Rooting{})},
		{"root", Problem, "--host-sudo", JudgeRoot(Host, "h", with(her, "quiet"), Rooting{})},
		{"root", OK, "", JudgeRoot(Host, "h", with(her, "quiet"), Rooting{Sudo: true})},
		{"root", Problem, "no sudo", JudgeRoot(Host, "h", with(her, "none"), Rooting{Sudo: true})},
		{"root", Problem, "does not let her in", JudgeRoot(Host, "h", with(her, "forbidden"), Rooting{Sudo: true, Terminal: true})},
		{"root", Problem, "no terminal", JudgeRoot(Host, "h", with(her, "password"), Rooting{Sudo: true})},
		{"root", Note, "timers", JudgeRoot(Host, "h", with(her, "password"), Rooting{Sudo: true, Terminal: true})},
		{"root", Unknown, "", JudgeRoot(Host, "h", with(her, "evil"), Rooting{Sudo: true})},
		{"connection", OK, "", JudgeConnection(Host, "h", nil, time.Second)},
		{"host-key", Problem, "", JudgeConnection(Host, "h", &remote.ConnectError{Kind: remote.ChangedHostKey}, time.Second)},
		{"connection", Unknown, "", JudgeConnection(Host, "h", &remote.ConnectError{Kind: remote.UnknownHostKey}, time.Second)},
		{"connection", Problem, "", JudgeConnection(Host, "h", &remote.ConnectError{Kind: remote.Unreachable}, time.Second)},
		{"ssh-config", Problem, "mkdir -m 700 /nowhere", JudgeSettings(Host, "h", remote.Settings{ControlPath: "/nowhere/%C"}, nil)},
		{"ssh-config", Warning, "host-key checking", JudgeSettings(Host, "h", remote.Settings{Unchecked: true}, nil)},
		{"ssh-config", OK, "through jump", JudgeSettings(Host, "h", remote.Settings{HostName: "h", Port: "22", Through: "jump"}, nil)},
		{"ssh-config", Problem, "bad line", JudgeSettings(Host, "h", remote.Settings{}, errors.New("bad line"))},
		{"sessions", Problem, "MaxSessions", JudgeSessions("h", errors.New("refused"))},
		{"helper", Problem, "silence", JudgeHelper("h", errors.New("silence"))},
	} {
		wants(t, c.found, Host, c.what, c.severity, c.text)
		stops := slices.ContainsFunc(c.found, func(f Finding) bool {
			return f.Severity == Problem && !slices.Contains([]string{"ssh-config", "sessions", "helper", "login-noise"}, f.What) || f.What == "root" && f.Severity == Unknown
		})
		if MayGoOn(c.found) == stops {
			t.Errorf("%s: goes on: %t", c.what, !stops)
		}
	}
}

func trusting(whom string) func(*HostFacts) {
	return func(f *HostFacts) {
		f.Login, f.Nix.TrustedUsers = remote.Login{User: "her", Groups: []string{"wheel"}}, []string{"root", whom}
	}
}

func with(l remote.Login, sudo string) remote.Login { l.Sudo = sudo; return l }

// What ferry explain has a section about names it.
func TestFindingsNameTheSectionAboutThem(t *testing.T) {
	for _, c := range []struct {
		what string
		want trouble.Section
		from []Finding
	}{
		{"nix", trouble.NixNotFound, JudgeOperator(OperatorFacts{NixErr: nix.ErrNoNix})},
		{"connection", trouble.LoginRefused, JudgeConnection(Host, "h", remote.NewConnectError(microvm.Address{Host: "h"}, "h: Permission denied (publickey)."), 0)},
		{"host-key", trouble.UnknownHostKey, JudgeConnection(Host, "h", remote.NewConnectError(microvm.Address{Host: "h"}, "Host key verification failed."), 0)},
		{"login-noise", trouble.NoisyShell, JudgeLogin(Host, "h", remote.Login{Began: true, UID: "0", Noise: 3, First: "hi"}, time.Minute)},
		{"login-endless", trouble.NoisyShell, JudgeLogin(Host, "h", remote.Login{Endless: true}, time.Minute)},
		{"root", trouble.Sudo, JudgeRoot(Host, "h", remote.Login{Sudo: "none"}, Rooting{})},
		{"sessions", trouble.SessionRefused, JudgeSessions("h", errors.New("refused"))},
		{"units", trouble.NotAHost, JudgeHost(HostFacts{})},
		{"helper", trouble.DiskFull, JudgeHelper("h", hostapi.Refuse("no", "look").About(trouble.DiskFull))},
		{"helper", "", JudgeHelper("h", hostapi.Refuse("no", "look").About("\x1b[2J"))},
		{"root", "", JudgeRoot(Host, "h", root, Rooting{})},
	} {
		i := slices.IndexFunc(c.from, func(f Finding) bool { return f.What == c.what })
		if i < 0 || c.from[i].See != c.want {
			t.Errorf("%s: %+v", c.what, c.from)
			continue
		}
		if says := strings.Contains(Text(c.from[i:i+1], true), "more: ferry explain "+string(c.want)+"\n"); says != (c.want != "") {
			t.Errorf("%s: %s", c.what, Text(c.from[i:i+1], true))
		}
	}
}

func TestOperator(t *testing.T) {
	fit := OperatorFacts{Nix: nix.OldestVersion(), Store: "local", Writable: true, SSH: "OpenSSH_10.0p2", CacheDir: "/c", Space: []Space{{"/c", 10 * gib}}, Flake: true, Hosts: []string{"server"}}
	for _, c := range []struct {
		what     string
		severity Severity
		text     string
		change   func(*OperatorFacts)
	}{
		{"nix", Problem, "install Nix", func(f *OperatorFacts) { f.NixErr = nix.ErrNoNix }},
		{"nix", Problem, "has Nix 2.8", func(f *OperatorFacts) { f.Nix = nix.Version{Major: 2, Minor: 8} }},
		{"nix-store", Problem, "refused", func(f *OperatorFacts) { f.StoreErr = errors.New("refused") }},
		{"nix-store", Problem, "daemon", func(f *OperatorFacts) { f.Writable = false }},
		{"nix-store", OK, "", func(f *OperatorFacts) { f.Writable, f.Store = false, "daemon" }},
		{"ssh", Problem, "", func(f *OperatorFacts) { f.SSHErr = errors.New("not found") }},
		{"ssh", Warning, "Dropbear", func(f *OperatorFacts) { f.SSH = "Dropbear v2025" }},
		{"helper", Warning, "none", func(f *OperatorFacts) { f.HelperErr = errors.New("none") }},
		{"cache", Warning, "XDG_CACHE_HOME", func(f *OperatorFacts) { f.CacheErr = errors.New("read-only") }},
		{"space", Warning, "1 MiB", func(f *OperatorFacts) { f.Space = append(f.Space, Space{"/tmp", mib}) }},
		{"space", Unknown, "", func(f *OperatorFacts) { f.Space = nil }},
		{"flake", Note, "no flake", func(f *OperatorFacts) { f.Flake = false }},
		{"flake", Problem, "syntax", func(f *OperatorFacts) { f.FlakeErr = errors.New("syntax") }},
		{"flake", OK, "server", func(*OperatorFacts) {}},
	} {
		f := fit
		c.change(&f)
		wants(t, JudgeOperator(f), Operator, c.what, c.severity, c.text)
	}
}

func TestRest(t *testing.T) {
	if got := Rest(Host, nil); len(got) < 30 || got[0] != "ssh-config" {
		t.Errorf("%v", got)
	}
	made := Unchecked(Guest, "g", "no", Rest(Guest, nil)...)
	if len(Rest(Guest, made)) != 0 || Problems(made) != 0 || !strings.Contains(fmt.Sprint(made), "not checked: no") {
		t.Errorf("%v", made)
	}
}

// What is unknown for one reason takes one line, and other machines' words make no
// lines of their own.
func TestText(t *testing.T) {
	found := append([]Finding{
		{Where: Operator, What: "nix", Severity: OK, Text: "Nix 2.26"},
		{Where: Host, Machine: "server", What: "vms", Severity: Warning, Text: "web: bad\x1b[2J\nok       host server: all is well", Cure: "look\nthere"},
	}, Unchecked(Host, "server", "no", "kvm", "sshd")...)
	found = append(found, Unchecked(Guest, "web", "no", "answer")...)
	want := `warning  host server: vms: web: bad\x1b[2J ok host server: all is well
         → look there
unknown  host server: kvm, sshd: not checked: no
unknown  guest web: answer: not checked: no
`
	if got := Text(found, false); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if got := Text(found, true); got != "ok       operator: nix: Nix 2.26\n"+want {
		t.Errorf("got:\n%s", got)
	}
	if err := Verdict(found); err != nil {
		t.Error(err)
	}
	if err := Verdict(JudgeHelper("h", errors.New("no"))); err == nil || err.Error() != "a deployment would fail: 1 problem" {
		t.Errorf("%v", err)
	}
}
