package nix

import (
	"strings"
	"testing"
)

const (
	registeredSystem = "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system"
	registeredLib    = "/nix/store/cccccccccccccccccccccccccccccccc-lib"
	goodRegistration = registeredSystem + "\n" + hash64 + "\n123\n/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system.drv\n2\n" + registeredSystem + "\n" + registeredLib + "\n" +
		registeredLib + "\n" + hash64 + "\n0\n\n0\n"
	hash64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// A registration from a machine that may be anybody's is handed on only if it
// registers the closure of the system and nothing that isn't a store path.
func TestRegistrationIsChecked(t *testing.T) {
	got, err := CheckRegistration(strings.NewReader(goodRegistration), registeredSystem)
	if err != nil || string(got) != goodRegistration {
		t.Fatalf("%v: %s", err, got)
	}
	for name, bad := range map[string]string{
		"empty":                 "",
		"of another system":     strings.Replace(goodRegistration, registeredSystem, "/nix/store/dddddddddddddddddddddddddddddddd-x", 3),
		"a path outside":        strings.Replace(goodRegistration, registeredLib, "/etc/passwd", 2),
		"a path that goes up":   strings.Replace(goodRegistration, registeredLib, "/nix/store/../../etc", 2),
		"no hash":               strings.Replace(goodRegistration, hash64, "x y", 1),
		"a negative size":       strings.Replace(goodRegistration, "\n123\n", "\n-1\n", 1),
		"a deriver outside":     strings.Replace(goodRegistration, "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-system.drv", "/tmp/x.drv", 1),
		"many references":       strings.Replace(goodRegistration, "\n2\n", "\n9999999999\n", 1),
		"fewer than it says":    strings.Replace(goodRegistration, "\n2\n", "\n3\n", 1),
		"cut":                   goodRegistration[:len(goodRegistration)-4],
		"what it does not have": goodRegistration[:strings.LastIndex(goodRegistration, registeredLib)],
		"a line without an end": goodRegistration + strings.Repeat("a", 1<<20),
		"something else at all": "hello\n",
		"more behind it":        goodRegistration + "\n",
	} {
		if got, err := CheckRegistration(strings.NewReader(bad), registeredSystem); err == nil {
			t.Errorf("%s: taken: %s", name, got)
		}
	}
}

func FuzzCheckRegistration(f *testing.F) {
	f.Add(goodRegistration)
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := CheckRegistration(strings.NewReader(s), registeredSystem)
		if err == nil && (len(got) > len(s)+1 || !strings.Contains(string(got), registeredSystem)) {
			t.Errorf("%q became %q", s, got)
		}
	})
}
