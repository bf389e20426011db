package live

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// Whatever makes a switch fail, its error says what to do, and the likely ones which
// section explains them.
func TestFailedSwitchSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		answers map[string]string
		hint    string
		about   trouble.Section
	}{
		"units fail":            {map[string]string{"follow switch": "status=4"}, "--accept-failed-units", trouble.UnitsFailed},
		"units failed later":    {map[string]string{"confirm": "refused=units failed=a.service"}, "--accept-failed-units", trouble.UnitsFailed},
		"the command fails":     {map[string]string{"confirm": "refused=command code=1"}, "run it there by hand", trouble.ChecksFailed},
		"another exit status":   {map[string]string{"follow switch": "status=1"}, "--no-rollback", ""},
		"another switch before": {map[string]string{"switch": "locked=other:1:2:ann@laptop"}, "run again", trouble.Locked},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &fakeGuest{t: t, answers: answersOf(c.answers)}
				err := Switch{
					VM: "web", Door: Door{Address: microvm.Address{Host: "web"}, Dial: g.dial}, Conn: &fakeLogin{g},
					Before: guest.Facts{BootID: "b1", Current: oldSystem}, Terms: Terms{Within: Within}, Host: &fakeHost{}, Report: &mute{},
					What: guest.Switch{ID: "id", System: newSystem, Action: "switch", RegInfo: "/nix/store/reg"},
				}.Run(t.Context()).Err
				if hint := hintOf(err); !strings.Contains(hint, c.hint) || trouble.Of(err) != c.about {
					t.Errorf("%v: hint %q, section %q", err, hint, trouble.Of(err))
				}
			})
		})
	}
}

// hintOf is the hint of a failure, which is a field.
func hintOf(err error) string {
	var f *hostapi.Failure
	if errors.As(err, &f) {
		return f.Hint
	}
	return trouble.Hint(err)
}

// A machine that can't be switched is told with the section that explains it.
func TestUnfitGuestsNameTheirSection(t *testing.T) {
	const fits = "boot=b1 uid=0 systemd=yes store=yes hostname=web"
	for answer, want := range map[string]trouble.Section{
		strings.Replace(fits, "web", "db", 1):        trouble.WrongTarget,
		strings.Replace(fits, "uid=0", "uid=1", 1):   trouble.Sudo,
		strings.Replace(fits, "store=yes ", "", 1):   trouble.StoreNotShared,
		strings.Replace(fits, "systemd=yes ", "", 1): "",
	} {
		g := &fakeGuest{t: t, answers: map[string][]string{"look": {answer}}}
		_, err := Door{Dial: g.dial}.Look(t.Context(), &fakeLogin{g}, Visit{VM: "web", Attribute: "web", HostName: "web", Probe: newSystem})
		if err == nil || trouble.Of(err) != want {
			t.Errorf("%s: %v, section %q", answer, err, trouble.Of(err))
		}
	}
}
