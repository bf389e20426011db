package flakeupdate

import (
	"slices"
	"strings"
	"testing"
)

// nested has inputs of inputs, one that follows another, and one by a URL with a
// token.
const nested = `{"nodes":{
  "home":{"inputs":{"nixpkgs":["nixpkgs"],"lib":"lib"},"locked":{"type":"github","owner":"o","repo":"home","rev":"aaaaaaaaaaaaaaaa","narHash":"sha256-H","lastModified":1767225600}},
  "lib":{"locked":{"type":"path","path":"./lib","narHash":"sha256-L"}},
  "nixpkgs":{"locked":{"type":"tarball","url":"https://me:t0ken@example.org/nixpkgs.tar.gz","narHash":"sha256-N"}},
  "root":{"inputs":{"home":"home","nixpkgs":"nixpkgs"}}},"root":"root","version":7}`

func TestParseLock(t *testing.T) {
	inputs, err := parseLock(nested)
	if err != nil || len(inputs) != 4 {
		t.Fatalf("%v, %v", inputs, err)
	}
	for name, want := range map[string]Locked{
		"home":     {Source: "github:o/home", Rev: "aaaaaaaaaaaaaaaa", Hash: "sha256-H", Date: "2026-01-01"},
		"home/lib": {Source: "path:./lib", Hash: "sha256-L"},
		"nixpkgs":  {Source: "https://example.org/nixpkgs.tar.gz", Hash: "sha256-N"},
	} {
		if got := inputs[name]; got == nil || *got != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if l, ok := inputs["home/nixpkgs"]; !ok || l != nil {
		t.Errorf("home/nixpkgs: %+v", l)
	}
}

func TestChanges(t *testing.T) {
	with := func(old, new string) string { return strings.ReplaceAll(nested, old, new) }
	for _, c := range []struct {
		name, before, after string
		want                []string
	}{
		{"none", nested, nested, nil},
		{"a revision", nested, strings.ReplaceAll(with("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"), "1767225600", "1767830400"), []string{"home: 2026-01-01 aaaaaaaaaa → 2026-01-08 bbbbbbbbbb"}},
		{"a hash", nested, with("sha256-L", "sha256-M"), []string{"home/lib: sha256-L → sha256-M"}},
		{"another source", nested, with(`"repo":"home"`, `"repo":"house"`), []string{"home: 2026-01-01 github:o/home aaaaaaaaaa → 2026-01-01 github:o/house aaaaaaaaaa"}},
		{"an input of its own instead of one that follows", nested, with(`["nixpkgs"]`, `"lib"`), []string{"home/nixpkgs: added, path:./lib sha256-L"}},
		{"one that follows instead", with(`["nixpkgs"]`, `"lib"`), nested, []string{"home/nixpkgs: removed, was sha256-L"}},
		{"the first lock file", "", nested, []string{"home: added, 2026-01-01 github:o/home aaaaaaaaaa", "home/lib: added, path:./lib sha256-L", "nixpkgs: added, https://example.org/nixpkgs.tar.gz sha256-N"}},
	} {
		before, err := parseLock(c.before)
		if err != nil {
			t.Fatal(err)
		}
		after, err := parseLock(c.after)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, change := range changes(before, after) {
			got = append(got, change.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestUnusableLocks(t *testing.T) {
	for _, s := range []string{
		"half", "null", "{}", `{"nodes":{"root":{}},"root":"other"}`, `{"nodes":{"root":{"inputs":{"a":"b"}}},"root":"root"}`,
		`{"nodes":{"root":{"inputs":{"a":"root"}}},"root":"root"}`, // round in circles
		`{"nodes":{"root":{"inputs":{"a":"r1","b":"r1","c":"r1"}},"r1":{"inputs":{"a":"root","b":"root","c":"root"}}},"root":"root"}`,
	} {
		if got, err := parseLock(s); err == nil {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add(nested, nested)
	f.Add("", `{"nodes":{"root":{"inputs":{"a":"root"}}},"root":"root"}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		before, err := parseLock(a)
		if err != nil {
			return
		}
		after, err := parseLock(b)
		if err != nil {
			return
		}
		for _, c := range changes(before, after) {
			_ = c.String()
		}
		if c := changes(before, before); len(c) > 0 {
			t.Errorf("%q differs from itself: %v", a, c)
		}
	})
}
