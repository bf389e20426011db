package nix

import (
	"errors"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]string{
		"nix (Nix) 2.26.3":                       "2.26.3",
		"nix (Nix) 2.26.3\n":                     "2.26.3",
		"nix (Nix) 2.8":                          "2.8",
		"nix (Nix) 2.34.0+1":                     "2.34",
		"nix (Nix) 2.27.0pre20250210_a1b2c3d":    "2.27pre",
		"nix (Lix, like Nix) 2.91.1":             "2.91.1",
		"nix (Lix, like Nix) 2.93.0-pre20250101": "2.93",
		"nix (Determinate Nix 3.6.2) 2.29.0":     "2.29",
		"nix (Determinate Nix 3.21.0) 2.34.6":    "2.34.6",
		"nix (Lix, like Nix) 2.93.0":             "2.93",
		"nix (Nix) 2.36.0pre20260904_0765ffa":    "2.36pre",
		"nix (Nix) 2.26.3.1":                     "2.26.3",
		"nix (Nix) 2.34.8\r\n":                   "2.34.8",
	} {
		v, err := ParseVersion(s)
		if err != nil || v.String() != want || v.Text != strings.TrimSpace(s) {
			t.Errorf("%q: %+v, %v; want %s", s, v, err, want)
		}
	}
	if v, err := ParseVersion("Welcome!\nnix (Nix) 2.34.8\nmore\n"); err != nil || v.String() != "2.34.8" || v.Text != "nix (Nix) 2.34.8" {
		t.Errorf("%+v, %v", v, err)
	}
	for _, s := range []string{"", "nix", "nix (Nix)", "nix (Nix) 2", "nix (Nix) two.three", "bash: nix: command not found", "nix (Nix) 2.26.3 oops", "nix-env (Nix) 2.26.3"} {
		if v, err := ParseVersion(s); err == nil {
			t.Errorf("%q became %+v", s, v)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	inOrder := []string{"2.8", "2.25.9", "2.26.0pre1", "2.26.0", "2.26.3", "2.26.10", "2.27", "2.91.1", "3.0"}
	for i, a := range inOrder {
		for j, b := range inOrder {
			va, _ := ParseVersion("nix (Nix) " + a)
			vb, _ := ParseVersion("nix (Nix) " + b)
			got := va.Compare(vb)
			if (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s compared with %s: %d", a, b, got)
			}
		}
	}
}

// The user has to learn what was found, where, and what to do.
func TestCheckVersion(t *testing.T) {
	for s, ok := range map[string]bool{
		"nix (Nix) 2.8.0": false, "nix (Nix) 2.25.5": false, "nix (Nix) 2.26.0": true, "nix (Nix) 2.26.3": true,
		"nix (Nix) 2.34.1": true, "nix (Lix, like Nix) 2.91.1": true, "nix (Determinate Nix 3.6.2) 2.29.0": true,
	} {
		v, err := ParseVersion(s)
		if err != nil {
			t.Fatal(err)
		}
		err = CheckVersion(v, "root@server1")
		if (err == nil) != ok {
			t.Errorf("%s: %v", s, err)
		}
		var old *VersionError
		if !ok && (!errors.As(err, &old) || !strings.Contains(err.Error(), "root@server1 has Nix "+v.String()+", ferry needs 2.26 or newer") || old.Hint() == "") {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func FuzzVersion(f *testing.F) {
	for _, s := range []string{"nix (Nix) 2.26.3", "nix (Lix, like Nix) 2.91.1", "nix (Nix) 2.27.0pre2_x", "nix (Determinate Nix 3.6.2) 2.29.0", "nix", "nix (Nix) 99999.1", "nix (\r) 0.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVersion(s)
		if err != nil {
			return
		}
		if v.Compare(v) != 0 || v.Major < 0 || v.Minor < 0 || v.Patch < 0 {
			t.Errorf("%q: %+v", s, v)
		}
		if strings.ContainsAny(v.Text, "\n\r") || !strings.Contains(s, v.Text) {
			t.Errorf("%q: text %q", s, v.Text)
		}
		again, err := ParseVersion("nix (Nix) " + v.String())
		if err != nil || again.Compare(v) != 0 {
			t.Errorf("%q is printed as %s, read back as %+v, %v", s, v, again, err)
		}
		if newer := (Version{Major: v.Major + 1}); v.Compare(newer) >= 0 || newer.Compare(v) <= 0 {
			t.Errorf("%s is not older than %s", v, newer)
		}
	})
}
