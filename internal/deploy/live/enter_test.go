package live

import (
	"errors"
	"testing"

	"ferry/internal/guest"
	"ferry/internal/microvm"
)

// Where the configuration has no host name, a machine that nothing shows to be the
// guest is not switched.
func TestGuestWithoutAHostName(t *testing.T) {
	runs := func(p microvm.StorePath) func(guest.Facts) bool {
		return func(f guest.Facts) bool { return f.Current == p }
	}
	for name, c := range map[string]struct {
		known func(guest.Facts) bool
		name  string
		want  bool
	}{
		"nobody can say":   {nil, "", false},
		"another machine":  {runs(newSystem), "", false},
		"the guest":        {runs(oldSystem), "", true},
		"another one's":    {runs(oldSystem), "db", false},
		"called as it is":  {nil, "web", true},
		"known and called": {runs(oldSystem), "web", true},
	} {
		g := &fakeGuest{t: t, answers: map[string][]string{"look": {"boot=b1 uid=0 systemd=yes store=yes hostname=web current=" + string(oldSystem)}}}
		_, err := Door{Dial: g.dial}.Look(t.Context(), &fakeLogin{g}, Visit{VM: "web", Attribute: "web", HostName: c.name, Known: c.known, Probe: newSystem})
		var unfit *UnfitError
		if (err == nil) != c.want || err != nil && (!errors.As(err, &unfit) || unfit.OnlyLive) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
