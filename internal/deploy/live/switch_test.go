package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

const (
	oldSystem     = microvm.StorePath("/nix/store/cccccccccccccccccccccccccccccccc-old")
	strangeSystem = microvm.StorePath("/nix/store/ffffffffffffffffffffffffffffffff-strange")
	newSystem     = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-new")
)

// fakeGuest answers ferry's scripts, in the order in which they are run; the last
// answer of a script again and again. An error's name stands for the error.
type fakeGuest struct {
	t       *testing.T
	answers map[string][]string
	asked   []string
	open    int
	logins  int
}

func (g *fakeGuest) dial(context.Context, bool) (Conn, error) {
	g.logins++
	if a := g.next("dial"); a == "gone" {
		return nil, &remote.ConnectError{Kind: remote.Unreachable, Host: "web"}
	} else if a == "refused" {
		return nil, &remote.ConnectError{Kind: remote.AuthFailed, Host: "web"}
	}
	g.open++
	return &fakeLogin{g}, nil
}

func (g *fakeGuest) next(what string) string {
	time.Sleep(7 * time.Millisecond) // so that no deadline is met exactly
	a := g.answers[what]
	if len(a) == 0 {
		return ""
	}
	if len(a) > 1 {
		g.answers[what] = a[1:]
	}
	return a[0]
}

type fakeLogin struct{ g *fakeGuest }

func (c *fakeLogin) Root(context.Context) error { return nil }
func (c *fakeLogin) Close() error               { c.g.open--; return nil }

func (c *fakeLogin) Run(ctx context.Context, cmd remote.Command) error {
	name := strings.Trim(strings.TrimPrefix(cmd.Shown, "ferry's script "), "`")
	marker, args := cmd.Args[4], cmd.Args[5:]
	if name == "follow" {
		name += " " + args[2]
	}
	c.g.asked = append(c.g.asked, name)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	said := c.g.next(name)
	if said == "lost" {
		return &remote.ConnectError{Kind: remote.Dropped, Host: "web"}
	}
	fmt.Fprintf(cmd.Stdout, "%s begun=\n%s boot=b1\n", marker, marker)
	for word := range strings.FieldsSeq(said) {
		fmt.Fprintf(cmd.Stdout, "%s %s\n", marker, word)
	}
	return nil
}

// fakeHost notes what it is told.
type fakeHost struct {
	check error
	told  []string
	// unknown: nobody named it. reboot is what it answers, rebooted how often it was
	// asked; booted is called then.
	unknown  bool
	reboot   hostapi.Rebooted
	fails    error
	rebooted int
	booted   func()
}

func (h *fakeHost) Reboot(_ context.Context, ran microvm.StorePath) (hostapi.Rebooted, error) {
	h.rebooted++
	if h.booted != nil {
		h.booted()
	}
	return h.reboot, h.fails
}

func (h *fakeHost) Named() string {
	if h.unknown {
		return ""
	}
	return "root@host1"
}

func (h *fakeHost) Check(context.Context, time.Time) error { return h.check }
func (h *fakeHost) Observed(_ context.Context, s microvm.StorePath, failed bool) {
	h.told = append(h.told, fmt.Sprintf("%s %t", microvm.SystemBaseName(string(s)), failed))
}

type mute struct{ warned []string }

func (*mute) Step(string, ...any)            {}
func (m *mute) Warn(format string, a ...any) { m.warned = append(m.warned, fmt.Sprintf(format, a...)) }
func (*mute) Log() io.WriteCloser            { return nop{} }

type nop struct{}

func (nop) Write(p []byte) (int, error) { return len(p), nil }
func (nop) Close() error                { return nil }

func answersOf(changes map[string]string) map[string][]string {
	a := map[string][]string{
		"switch": {"started=id"}, "follow switch": {"status=0"}, "confirm": {"confirmed=yes"},
		"undo": {"answer=undoing"}, "follow undo": {"status=0"}, "look": {"uid=0 systemd=yes store=yes hostname=web current=" + string(oldSystem)},
	}
	for k, v := range changes {
		a[k] = strings.Split(v, "; ")
	}
	return a
}

// A switch ends confirmed, undone or left, and how things are is always said.
func TestSwitchUntilItsVerdict(t *testing.T) {
	const units = "refused=units failed=a.service"
	for _, c := range []struct {
		name    string
		answers map[string]string
		terms   Terms
		check   string
		verdict Verdict
		open    bool
		state   string // a part of it
		told    string // to the host: what the guest runs, and whether the switch failed
		asked   string
	}{
		{name: "confirmed", verdict: Confirmed, asked: "switch follow-switch confirm"},
		{name: "over new connections", answers: map[string]string{"follow switch": "lost; lost; status=0"}, verdict: Confirmed, asked: "switch follow-switch follow-switch follow-switch confirm"},
		{name: "the login takes a while", answers: map[string]string{"dial": "gone; gone; ok"}, verdict: Confirmed, asked: "switch follow-switch confirm"},
		{name: "the command fails first", answers: map[string]string{"confirm": "refused=command code=1; confirmed=yes"}, verdict: Confirmed, asked: "switch follow-switch confirm confirm"},
		{name: "failed units, accepted", answers: map[string]string{"follow switch": "status=4"}, terms: Terms{AcceptFailedUnits: true}, verdict: Confirmed, asked: "switch follow-switch confirm"},
		{name: "confirmed after all", answers: map[string]string{"confirm": units, "undo": "answer=confirmed"}, verdict: Confirmed, asked: "switch follow-switch confirm undo"},
		{name: "confirmed while it was undone", answers: map[string]string{"confirm": units, "follow undo": "status=confirmed"}, verdict: Confirmed, asked: "switch follow-switch confirm undo follow-undo"},

		{name: "failed", answers: map[string]string{"follow switch": "status=1"}, verdict: Undone, state: "undone: the guest runs " + string(oldSystem), told: "old false", asked: "switch follow-switch undo follow-undo look"},
		{name: "failed units", answers: map[string]string{"follow switch": "status=4"}, verdict: Undone, state: "undone: ", told: "old false", asked: "switch follow-switch undo follow-undo look"},
		{name: "not confirmed", answers: map[string]string{"confirm": units}, verdict: Undone, state: "undone: ", told: "old false", asked: "switch follow-switch confirm undo follow-undo look"},
		{name: "the host's checks fail", check: "no", verdict: Undone, state: "undone: ", told: "old false", asked: "switch follow-switch undo follow-undo look"},
		{name: "units of the old system failed", answers: map[string]string{"confirm": units, "follow undo": "status=4"}, verdict: Undone, state: "units of the previous system failed", told: "old false", asked: "switch follow-switch confirm undo follow-undo look"},
		{name: "called off", answers: map[string]string{"switch": "lost", "undo": "answer=nothing"}, verdict: Undone, state: "called off", told: "old false", asked: "switch undo"},
		{name: "undone by a boot", answers: map[string]string{"confirm": units, "follow undo": "status=reboot", "look": "uid=0 boot=b1; uid=0 boot=b2 current=" + string(oldSystem)}, verdict: Undone, state: "undone by a boot", told: "old false", asked: "switch follow-switch confirm undo follow-undo look look"},
		{name: "the unit that undoes was killed", answers: map[string]string{"confirm": units, "follow undo": "status=died; status=0"}, verdict: Undone, state: "undone: ", told: "old false", asked: "switch follow-switch confirm undo follow-undo undo follow-undo look"},

		{name: "refused", answers: map[string]string{"switch": "refused=no"}, verdict: Left, asked: "switch", state: "`current` on the host is unchanged"},
		{name: "left so", answers: map[string]string{"follow switch": "status=1", "look": "uid=0 current=" + string(newSystem)}, terms: Terms{NoRollback: true}, verdict: Left, state: "the guest runs " + string(newSystem), told: "new true", asked: "switch follow-switch look"},
		{name: "left while it goes on", answers: map[string]string{"follow switch": "status=1", "look": "uid=0 switching=id"}, terms: Terms{NoRollback: true}, verdict: Left, open: true, state: "ferry-switch-id", asked: "switch follow-switch look"},
		{name: "the undo did not help", answers: map[string]string{"confirm": units, "look": "uid=0 current=" + string(newSystem)}, verdict: Left, state: "undone: the guest runs " + string(newSystem), told: "new true", asked: "switch follow-switch confirm undo follow-undo look"},
		{name: "gone for good", answers: map[string]string{"follow switch": "lost", "dial": "gone", "undo": "lost"}, verdict: Left, open: true, state: "`ferry restart web --host root@host1` boots what is installed", asked: "switch follow-switch undo"},
		{name: "another boot brings another system", answers: map[string]string{"confirm": units, "follow undo": "status=reboot", "look": "uid=0 boot=b2 current=" + string(strangeSystem)}, verdict: Left, state: "before, it ran " + string(oldSystem), told: "strange true", asked: "switch follow-switch confirm undo follow-undo look"},
		{name: "undone by itself", answers: map[string]string{"confirm": "undone=yes why=late"}, verdict: Undone, state: "undone: ", told: "old false", asked: "switch follow-switch confirm undo follow-undo look"},
		{name: "somebody else switches it", answers: map[string]string{"switch": "locked=other:1:2:ann@laptop"}, verdict: Left, state: "nothing was changed", asked: "switch"},
		{name: "the undo can't be followed", answers: map[string]string{"confirm": units, "follow undo": "nonsense"}, verdict: Left, open: true, state: "the guest undoes the switch by itself", asked: "switch follow-switch confirm undo follow-undo"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &fakeGuest{t: t, answers: answersOf(c.answers)}
				h := &fakeHost{}
				if c.check != "" {
					h.check = fmt.Errorf("%s", c.check)
				}
				c.terms.Within = Within
				o := Switch{
					VM: "web", Door: Door{Address: microvm.Address{Host: "web"}, Dial: g.dial}, Conn: &fakeLogin{g},
					Before: guest.Facts{BootID: "b1", Current: oldSystem}, Terms: c.terms, Host: h, Report: &mute{},
					What: guest.Switch{ID: "id", System: newSystem, Action: "switch", RegInfo: "/nix/store/reg"},
				}.Run(t.Context())
				if o.Verdict != c.verdict || o.Open != c.open || (o.Err == nil) != (c.verdict == Confirmed) || !strings.Contains(o.State, c.state) {
					t.Errorf("got %+v", o)
				}
				if told := strings.Join(h.told, ", "); told != c.told {
					t.Errorf("the host was told %q", told)
				}
				if asked := strings.Join(g.asked, ","); asked != strings.ReplaceAll(strings.ReplaceAll(c.asked, " ", ","), "-", " ") {
					t.Errorf("the guest was asked %q", g.asked)
				}
				if g.open != 0 {
					t.Errorf("%d logins are open", g.open)
				}
			})
		})
	}
}

// Ctrl-C undoes a switch; an interrupted one that is not to be undone is left.
func TestInterruptedSwitch(t *testing.T) {
	for never, want := range map[bool]Verdict{false: Undone, true: Left} {
		synctest.Test(t, func(t *testing.T) {
			g := &fakeGuest{t: t, answers: answersOf(nil)}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			o := Switch{
				Door: Door{Dial: g.dial}, Conn: &fakeLogin{g}, Before: guest.Facts{BootID: "b1", Current: oldSystem},
				Terms: Terms{Within: Within, NoRollback: never}, Host: &fakeHost{}, Report: &mute{}, What: guest.Switch{ID: "id", System: newSystem},
			}.Run(ctx)
			if o.Verdict != want || o.Open != never || slices.Contains(g.asked, "undo") == never {
				t.Errorf("never %t: %+v, asked %q", never, o, g.asked)
			}
		})
	}
}

// What goes on in a guest already is waited for before anything else is begun.
func TestEarlierSwitchIsWaitedFor(t *testing.T) {
	const fits = "uid=0 systemd=yes store=yes hostname=web "
	for name, c := range map[string]struct {
		look, undo string
		onlySay    bool
		asked      string
		fails      string
	}{
		"nothing":       {look: fits, asked: "look"},
		"a switch":      {look: fits + "switching=a; " + fits, asked: "look,follow switch,look"},
		"an undo":       {look: fits + "armed=a; " + fits, asked: "look,follow undo,why,look"},
		"both":          {look: fits + "switching=a armed=a; " + fits, asked: "look,follow switch,follow undo,why,look"},
		"a dry run":     {look: fits + "switching=a armed=a", onlySay: true, asked: "look"},
		"a boot":        {look: fits + "armed=a", undo: "status=reboot", asked: "look,follow undo", fails: "run again when it is up"},
		"another name":  {look: "uid=0 hostname=db", asked: "look", fails: "calls itself"},
		"no root":       {look: "uid=1 hostname=web", asked: "look", fails: "is not root"},
		"no systemd":    {look: "uid=0 hostname=web", asked: "look", fails: "no systemd-run"},
		"another store": {look: "uid=0 hostname=web systemd=yes store=no", asked: "look", fails: "does not see the host's /nix/store"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &fakeGuest{t: t, answers: answersOf(map[string]string{"look": c.look})}
				if c.undo != "" {
					g.answers["follow undo"] = []string{c.undo}
				}
				d := Door{Address: microvm.Address{Host: "web"}, Dial: g.dial}
				got, err := d.Open(t.Context(), Visit{VM: "web", Attribute: "web", HostName: "web", Probe: newSystem, Report: &mute{}, OnlySay: c.onlySay})
				if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
					t.Errorf("got %v", err)
				}
				if asked := strings.Join(g.asked, ","); asked != c.asked {
					t.Errorf("asked %q", asked)
				}
				got.Close()
				if g.open != 0 {
					t.Errorf("%d logins are open", g.open)
				}
			})
		})
	}
}

// A guest that has had its time to go back and can't be reached is left to its host,
// and what is said of it then is what somebody has seen.
func TestGuestOutOfReachAfterItsUndo(t *testing.T) {
	back := hostapi.Rebooted{Before: true, Restarted: true, Reached: true, System: oldSystem, Ran: oldSystem, Why: "it boots R, as before"}
	otherwise, silent := back, back
	otherwise.System, otherwise.Why = strangeSystem, "it boots R, which is installed"
	silent.Reached = false
	for _, c := range []struct {
		name    string
		reboot  hostapi.Rebooted
		fails   error
		unknown bool
		look    string // once it was restarted; empty: nothing from here
		verdict Verdict
		open    bool
		state   string
		told    string
	}{
		{name: "restarted, and seen", reboot: back, look: "uid=0 boot=b2 current=" + string(oldSystem), verdict: Undone, state: "which has restarted it: it boots R, as before: the guest runs " + string(oldSystem), told: "old false"},
		{name: "restarted, seen with another system", reboot: back, look: "uid=0 boot=b2 current=" + string(strangeSystem), verdict: Left, state: "the guest runs " + string(strangeSystem) + "; `current` on the host was not touched; before, it ran " + string(oldSystem), told: "strange true"},
		{name: "restarted, seen by the host only", reboot: back, verdict: Undone, state: "root@host1 reaches it again, but it can't be reached from here"},
		{name: "restarted with another system, seen by the host only", reboot: otherwise, verdict: Left, state: "root@host1 reaches it again"},
		{name: "restarted in vain", reboot: silent, verdict: Left, open: true, state: "has not come back"},
		{name: "only out of reach from here", reboot: hostapi.Rebooted{Before: true, Reached: true}, verdict: Left, open: true, state: "not reachable from here, but reachable from root@host1"},
		{name: "back again", reboot: hostapi.Rebooted{Before: true, Reached: true}, look: "uid=0 current=" + string(oldSystem), verdict: Undone, state: "undone: the guest runs " + string(oldSystem), told: "old false"},
		{name: "back again, and it still has time", reboot: hostapi.Rebooted{Before: true, Reached: true}, look: "uid=0 armed=id current=" + string(newSystem), verdict: Left, open: true, state: "the guest undoes the switch by itself"},
		{name: "booted with the host", fails: errors.New("no"), look: "uid=0 boot=b2 current=" + string(oldSystem), verdict: Undone, state: "undone: the guest runs " + string(oldSystem), told: "old false"},
		{name: "no baseline", reboot: hostapi.Rebooted{Why: "it could not reach it before"}, verdict: Left, open: true, state: "it could not reach it before; `ferry restart web --host root@host1` boots what is installed"},
		{name: "the host can't be asked", fails: errors.New("no"), verdict: Left, open: true, state: "whether root@host1 can reach it is not known"},
		{name: "no host", unknown: true, verdict: Left, open: true, state: "its host is not known; `ferry restart web --host HOST`"},
	} {
		for _, when := range []string{"during the switch", "after the switch", "while it was undone", "after the undo"} {
			t.Run(c.name+", "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := &fakeGuest{t: t, answers: answersOf(map[string]map[string]string{
						"during the switch": {"follow switch": "lost", "dial": "gone", "undo": "lost"}, "after the switch": {"dial": "gone", "undo": "lost"},
						"while it was undone": {"confirm": "refused=units", "dial": "ok; gone", "follow undo": "lost"}, "after the undo": {"confirm": "refused=units", "dial": "ok; gone"},
					}[when])}
					h := &fakeHost{reboot: c.reboot, fails: c.fails, unknown: c.unknown, booted: func() {
						if c.look != "" {
							g.answers["dial"], g.answers["look"] = nil, []string{c.look}
						}
					}}
					began := time.Now()
					o := Switch{
						VM: "web", Door: Door{Address: microvm.Address{Host: "web"}, Dial: g.dial}, Conn: &fakeLogin{g},
						Before: guest.Facts{BootID: "b1", Current: oldSystem}, Terms: Terms{Within: Within}, Host: h, Report: &mute{},
						What: guest.Switch{ID: "id", System: newSystem, Action: "switch", RegInfo: "/nix/store/reg"},
					}.Run(t.Context())
					if o.Verdict != c.verdict || o.Open != c.open || o.Err == nil || !strings.Contains(o.State, c.state) {
						t.Errorf("got %+v", o)
					}
					if o.LastResort != c.reboot.Restarted {
						t.Errorf("said to be a last resort: %t", o.LastResort)
					}
					if told := strings.Join(h.told, ", "); told != c.told {
						t.Errorf("the host was told %q", told)
					}
					if n := h.rebooted; n != map[bool]int{false: 1}[c.unknown] {
						t.Errorf("the host was asked %d times", n)
					}
					// The guest's time, and a boot that nobody sees here.
					if took := time.Since(began); took > guestReturn+Within+hostapi.Grace(Within)+goingBack+seenAgain+time.Second*5 {
						t.Errorf("that took %s", took)
					}
				})
			})
		}
	}
}

// Ctrl-C and --no-rollback leave the VM alone.
func TestNothingIsRestartedUnasked(t *testing.T) {
	for _, never := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := &fakeGuest{t: t, answers: answersOf(map[string]string{"dial": "gone", "undo": "lost", "follow switch": "lost"})}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if !never {
				cancel()
			}
			h := &fakeHost{}
			o := Switch{
				Door: Door{Dial: g.dial}, Conn: &fakeLogin{g}, Before: guest.Facts{BootID: "b1", Current: oldSystem},
				Terms: Terms{Within: Within, NoRollback: never}, Host: h, Report: &mute{}, What: guest.Switch{ID: "id", System: newSystem},
			}.Run(ctx)
			if o.Verdict != Left || !o.Open || h.rebooted != 0 {
				t.Errorf("never %t: %+v, asked %d times", never, o, h.rebooted)
			}
		})
	}
}

// Why the guest has gone back by itself stands in the error, with the end of what the
// switch has said.
func TestReasonOfAnUndoIsNamed(t *testing.T) {
	err := UndoneByItself("web", "nobody confirmed it within 90 s", "one\nfailed units: nginx.service")
	var f *hostapi.Failure
	if !errors.As(err, &f) || f.Message != "the guest at web has undone the switch by itself: nobody confirmed it within 90 s" || !slices.Contains(f.Log, "failed units: nginx.service") {
		t.Errorf("got %+v", err)
	}
}
