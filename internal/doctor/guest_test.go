package doctor

import (
	"testing"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/trouble"
)

func TestGuest(t *testing.T) {
	host := well().Examined
	fit := GuestFacts{Machine: "root@web", VM: "web", Host: &host, Asked: now, Answered: now, Probe: hostapi.ExaminedPath{Path: "/nix/store/x", At: now.Add(-time.Minute)},
		Examined: guest.Examined{HostName: "web", Now: now, Up: time.Hour, HasStore: true, Systemd: true, NixStore: true, Switch: true}}
	for _, c := range []struct {
		what     string
		severity Severity
		text     string
		change   func(*GuestFacts)
	}{
		{"name", Warning, `and should be "db"`, func(f *GuestFacts) { f.VM = "db" }},
		{"name", OK, "", func(f *GuestFacts) { f.VM = "" }},
		{"name", Warning, "no VM of that name", func(f *GuestFacts) { f.VM, f.HostName = "", "printer" }},
		{"name", Unknown, "", func(f *GuestFacts) { f.VM, f.Host = "", nil }},
		{"systemd", Problem, "", func(f *GuestFacts) { f.Systemd = false }},
		{"nix-store", Warning, "", func(f *GuestFacts) { f.NixStore = false }},
		{"store", Warning, "microvm.shares", func(f *GuestFacts) { f.HasStore = false }},
		{"store", Problem, "shares it", func(f *GuestFacts) { f.HasStore, f.Host = false, having("web", hostapi.StoreShared) }},
		{"store", Problem, "", func(f *GuestFacts) { f.VM, f.HasStore, f.Host = "", false, having("web", hostapi.StoreShared) }},
		{"store", Note, "a restart", func(f *GuestFacts) { f.HasStore, f.Host = false, having("web", hostapi.StoreOwn) }},
		{"store", Warning, "", func(f *GuestFacts) { f.HasStore, f.Host = false, having("db", hostapi.StoreShared) }},
		{"name", Problem, `configured as "db"`, func(f *GuestFacts) { f.VM, f.Host = "db", having("db", "") }},
		{"name", OK, "", func(f *GuestFacts) {
			f.HostName, f.Host = "inside", having("web", "")
			f.Host.VMs[0].HostName = "inside"
		}},
		{"store", Unknown, "", func(f *GuestFacts) { f.Probe.Path = "" }},
		{"new-paths", OK, "", func(*GuestFacts) {}},
		{"new-paths", Note, "a deployment makes sure", func(f *GuestFacts) { f.Up = time.Second }},
		{"new-paths", Unknown, "", func(f *GuestFacts) { f.Up = 0 }},
		{"switch", Warning, "system.switch.enable", func(f *GuestFacts) { f.Switch = false }},
		{"undecided", Warning, "`ferry attach 7`", func(f *GuestFacts) { f.Armed = "7" }},
		{"failed-units", Warning, "cron.service", func(f *GuestFacts) { f.FailedUnits = []string{"cron.service"} }},
		{"clock", Warning, "", func(f *GuestFacts) { f.Now = now.Add(time.Hour) }},
	} {
		f := fit
		c.change(&f)
		wants(t, JudgeGuest(f), Guest, c.what, c.severity, c.text)
	}
	wants(t, JudgeLogin(Guest, "g", remote.Login{Began: true, UID: "0", Noise: 3, First: "hi\n"}, time.Minute), Guest, "login-noise", Note, "hi")
	for _, f := range JudgeGuest(fit) {
		if f.Severity != OK {
			t.Errorf("a guest that is well: %+v", f)
		}
	}
}

// having is what a host with one VM says.
func having(vm microvm.Name, store string) *hostapi.Examined {
	host := well().Examined
	host.VMs = []hostapi.ExaminedVM{{Name: vm, State: "running", HostName: string(vm), Store: store}}
	return &host
}

// A VM that does not run needs no guest that answers; everything else about it counts.
func TestAGuestOutOfReachWhoseVMIsDown(t *testing.T) {
	down := having("web", "")
	down.VMs[0].State = "stopped"
	mute := well().Examined
	mute.VMs, mute.Unknown = nil, map[string]string{hostapi.LookVMs: "no"}
	refused := remote.NewConnectError(microvm.Address{Host: "web"}, "ssh: connect to host web port 22: Connection refused")
	for name, c := range map[string]struct {
		err  error
		host *hostapi.Examined
		vm   string
		want Severity
	}{
		"stopped":            {refused, down, "web", Note},
		"not there yet":      {refused, down, "db", Note},
		"running":            {refused, having("web", ""), "web", Problem},
		"nobody knows":       {refused, &mute, "web", Problem},
		"host not asked":     {refused, nil, "web", Problem},
		"which VM?":          {refused, down, "", Problem},
		"no such name":       {remote.NewConnectError(microvm.Address{Host: "web"}, "ssh: Could not resolve hostname web: Name or service not known"), down, "web", Problem},
		"another's host key": {remote.NewConnectError(microvm.Address{Host: "web"}, "Host key verification failed."), down, "web", Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			found := Excuse(JudgeConnection(Guest, "root@web", c.err, time.Second), c.err, c.host, c.vm)
			wants(t, found, Guest, "connection", c.want, "")
			if c.want == Problem && found[0].See != trouble.Unreachable {
				t.Errorf("it is explained by %q", found[0].See)
			}
		})
	}
}
