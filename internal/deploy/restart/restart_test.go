package restart

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"ferry/internal/deploy/live"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

const system = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system")

// booting is a guest that answers one thing after another, and its last again and
// again.
type booting struct {
	answers []string
	args    []string // of the last script
	open    int
}

func (b *booting) dial(context.Context, bool) (live.Conn, error) {
	if len(b.answers) > 1 && b.answers[0] == "gone" || b.answers[0] == "gone" {
		b.answers = b.answers[min(1, len(b.answers)-1):]
		return nil, &remote.ConnectError{Kind: remote.Unreachable, Host: "web"}
	}
	b.open++
	return login{b}, nil
}

type login struct{ b *booting }

func (login) Root(context.Context) error { return nil }
func (l login) Close() error             { l.b.open--; return nil }

func (l login) Run(_ context.Context, cmd remote.Command) error {
	b := l.b
	said := b.answers[0]
	b.answers = b.answers[min(1, len(b.answers)-1):]
	b.args = cmd.Args[5:]
	fmt.Fprintf(cmd.Stdout, "%s begun=\n%s boot=b2\n", cmd.Args[4], cmd.Args[4])
	for word := range strings.FieldsSeq(said) {
		fmt.Fprintf(cmd.Stdout, "%s %s\n", cmd.Args[4], word)
	}
	return nil
}

// A guest that boots is asked until it is well, isn't for good, or the time is up.
func TestAwaitBooted(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		err     string
	}{
		"at once":               {[]string{"confirmed=yes"}, ""},
		"after a while":         {[]string{"gone", "gone", "confirmed=yes"}, ""},
		"the old one at first":  {[]string{"refused=system", "confirmed=yes"}, ""},
		"the command at last":   {[]string{"refused=command", "confirmed=yes"}, ""},
		"failed units":          {[]string{"refused=units failed=a.service"}, "units have failed in the guest at web: a.service"},
		"the old one for ever":  {[]string{"refused=system"}, "instead of " + string(system)},
		"out of reach for good": {[]string{"gone"}, "after the restart: "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &booting{answers: c.answers}
				boot, err := Booting{
					Door: live.Door{Address: microvm.Address{Host: "web"}, Dial: g.dial}, System: system, Within: Within,
					Before: Units{Known: true, Failed: []string{"x.service"}}, Command: "true",
				}.Await(t.Context())
				if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) || err == nil && boot != "b2" {
					t.Errorf("got %q, %v", boot, err)
				}
				if g.args != nil && strings.Join(g.args, "|") != "|"+string(system)+"|no|x.service|yes" {
					t.Errorf("asked %q", g.args)
				}
				if g.open != 0 {
					t.Errorf("%d logins are open", g.open)
				}
			})
		})
	}
}

// Which units had failed before is asked where the guest answers; otherwise none
// are held against it.
func TestUnitsBefore(t *testing.T) {
	g := &booting{answers: []string{"systemd=yes failed=a.service"}}
	if u := UnitsOf(t.Context(), live.Door{Dial: g.dial}); !u.Known || len(u.Failed) != 1 {
		t.Errorf("got %+v", u)
	}
	gone := &booting{answers: []string{"gone"}}
	if u := UnitsOf(t.Context(), live.Door{Dial: gone.dial}); u.Known {
		t.Errorf("got %+v", u)
	}
	g.answers = []string{"confirmed=yes"}
	if _, err := (Booting{Door: live.Door{Dial: g.dial}, System: system, Within: Within}).Await(t.Context()); err != nil || g.args[2] != "yes" {
		t.Errorf("asked %q, %v", g.args, err)
	}
}

// A login that was open before may be gone; then another one is made.
func TestUnitsOverALoginThatIsGone(t *testing.T) {
	g := &booting{answers: []string{"systemd=yes failed=a.service"}}
	dials := 0
	u := UnitsOf(t.Context(), live.Door{Dial: func(ctx context.Context, fresh bool) (live.Conn, error) {
		if dials++; dials == 1 {
			return gone{}, nil
		}
		return g.dial(ctx, fresh)
	}})
	if !u.Known || dials != 2 || g.open != 0 {
		t.Errorf("got %+v after %d logins, %d open", u, dials, g.open)
	}
}

type gone struct{ live.Conn }

func (gone) Close() error { return nil }
func (gone) Run(context.Context, remote.Command) error {
	return &remote.ConnectError{Kind: remote.Dropped, Host: "web"}
}

// On a first deployment nothing has failed before, so units that fail count.
func TestFailedUnitsCountInANewVM(t *testing.T) {
	for _, accept := range []bool{false, true} {
		g := &booting{answers: []string{"confirmed=yes"}}
		b := Booting{Door: live.Door{Dial: g.dial}, System: system, Within: Within, Before: New(), AcceptFailedUnits: accept}
		if _, err := b.Await(t.Context()); err != nil || (g.args[2] == "yes") != accept || g.args[3] != "" {
			t.Errorf("accepted %t: asked %q, %v", accept, g.args, err)
		}
	}
}
