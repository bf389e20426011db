package deploy

import (
	"strings"
	"testing"
	"testing/synctest"
)

// What a host says about the new system's closure is loaded only in a guest that
// sees what the host has just made in its store, and only if it looks like one.
func TestRegistrationReachesTheHostsGuestOnly(t *testing.T) {
	good := string(newSys) + "\n" + strings.Repeat("0", 64) + "\n1\n\n0\n"
	for _, c := range []struct {
		name, says string
		world      func(*world)
		loaded     string
	}{
		{"its own guest", "", nil, good},
		{"another host's guest", "is not here", func(w *world) { w.guest.elsewhere = true }, ""},
		{"a path that was there before", "was asked for a path named ferry-token-", func(w *world) { w.token = string(oldSys) }, ""},
		{"no registration", "is not a store path", func(w *world) { w.registration = "/etc/shadow\n" + good }, ""},
		{"of something else", "does not register", func(w *world) { w.registration = strings.ReplaceAll(good, string(newSys), string(strSys)) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w *world
			var err error
			synctest.Test(t, func(t *testing.T) {
				s := scenario{world: plans(noRegInfo, noRegInfo)}
				if c.world != nil {
					s.world = all(s.world, c.world)
				}
				w = newWorld(t, s, t.TempDir(), fault{})
				_, err = rebuild(nil)(t.Context(), w.deployer())
			})
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
			if w.guest.loaded != c.loaded {
				t.Errorf("the guest was sent %q", w.guest.loaded)
			}
			if c.says != "" && (w.guest.switched || w.guest.current != oldSys) {
				t.Error("the guest was switched")
			}
		})
	}
}

// The registration file is one of the store.
func TestRegistrationFile(t *testing.T) {
	for file, good := range map[string]bool{
		regInfo: true, "/nix/store": false, "/nix/store/": false, "/etc/shadow": false, regInfo + "/../../../../etc/shadow": false,
		"": false, "/nix/store/x/y": false, string(newSys) + "/a\nb": false, string(newSys): true, "nix/store/" + regInfo: false,
	} {
		if err := checkRegInfo(file); (err == nil) != good {
			t.Errorf("%q: %v", file, err)
		}
	}
}
