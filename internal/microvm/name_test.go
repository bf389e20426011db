package microvm

import (
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	for s, ok := range map[string]bool{
		"web": true, "W3b": true, "0": true, "my-vm_2": true, strings.Repeat("a", MaxNameLength): true,
		"": false, strings.Repeat("a", MaxNameLength+1): false, "-web": false, "_web": false, "web.prod": true, "a.b.c-1": true, ".web": false, "web.": false, "web..prod": false,
		"a/b": false, "..": false, "a b": false, "web\n": false, "wéb": false, `a"b`: false, "a$b": false, "a@b": false,
	} {
		got, err := ParseName(s)
		if (err == nil) != ok {
			t.Errorf("ParseName(%q): error %v, want ok %v", s, err, ok)
		}
		if ok && string(got) != s || !ok && got != "" {
			t.Errorf("ParseName(%q) = %q", s, got)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"web", "a-b_C9", "", "-", "web\x00", "../x", strings.Repeat("x", 65)} {
		f.Add(s)
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Errorf("the error for %q is more than a line: %q", s, err)
			}
			return
		}
		if string(n) != s || s == "" || len(s) > MaxNameLength || strings.Trim(s, allowed) != "" || strings.ContainsAny(s[:1], "-_.") || strings.Contains(s, "..") || strings.HasSuffix(s, ".") {
			t.Errorf("accepted %q as %q", s, n)
		}
		if unit := n.Unit(); unit != "microvm@"+s+".service" || len(unit) > 255 {
			t.Errorf("unit %q", unit)
		}
	})
}

func TestCollides(t *testing.T) {
	for _, c := range []struct {
		name   Name
		others []Name
		want   Name
	}{
		{"web", nil, ""},
		{"web", []Name{"web", "db"}, ""},
		{"old-web", []Name{"web"}, "web"},
		{"web", []Name{"db", "old-web"}, "old-web"},
		{"booted-web", []Name{"web"}, "web"},
		{"web", []Name{"booted-web"}, "booted-web"},
		{"old-web", []Name{"booted-web"}, ""},
		{"old-a.b", []Name{"a.b"}, "a.b"},
		{"a.b", []Name{"a", "b", "old-a", "booted-a.b"}, "booted-a.b"},
		{"old-a.b", []Name{"a", "b"}, ""},
		{"old-old-web", []Name{"web", "old-web"}, "old-web"},
	} {
		if got := c.name.Collides(c.others); got != c.want {
			t.Errorf("%s among %v: %q, want %q", c.name, c.others, got, c.want)
		}
	}
}

func TestAttributeIsQuotedWhereNixNeedsIt(t *testing.T) {
	for name, want := range map[Name]string{"web": "web", "my-vm_2": "my-vm_2", "web.prod": `"web.prod"`, "0": `"0"`} {
		if got := name.Attribute(); got != want {
			t.Errorf("%s: %s, wanted %s", name, got, want)
		}
	}
}

func TestSystemBaseName(t *testing.T) {
	for path, want := range map[string]string{
		"/nix/store/00000000000000000000000000000000-nixos-system-web-25.11": "nixos-system-web-25.11",
		"/nix/store/nohash": "nohash",
		"":                  "",
	} {
		if got := SystemBaseName(path); got != want {
			t.Errorf("SystemBaseName(%q) = %q, want %q", path, got, want)
		}
	}
}
