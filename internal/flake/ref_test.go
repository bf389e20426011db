package flake

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
)

func TestSourceRef(t *testing.T) {
	for ref, want := range map[string]string{
		"": ".", ".": ".", "./infra": "./infra", "/srv/infra": "/srv/infra", "github:o/r?ref=x": "github:o/r?ref=x",
		"/srv/my infra": "/srv/my infra",
	} {
		if got, err := (Source{Ref: ref}).checkedRef(); err != nil || got != want {
			t.Errorf("%q: %q, %v", ref, got, err)
		}
	}
	for ref, why := range map[string]string{
		"--expr": "begins with `-`", ".#web": "`#`", "a\nb": "control", "\x1b[31m": "control", strings.Repeat("x", 5000): "too long",
	} {
		if got, err := (Source{Ref: ref}).checkedRef(); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %q, %v", ref, got, err)
		}
	}
}

// Where `flake` holds a fixed store path, updates would silently do nothing.
// microvm-nix/microvm.nix#55, #416, #283
func TestCheckUpdateRef(t *testing.T) {
	for _, ref := range []string{
		"github:owner/repo", "github:owner/repo/branch?dir=hosts", "gitlab:o/r?host=git.example.org", "sourcehut:~o/r",
		"git+https://git.example.org/infra?ref=flake-update", "git+ssh://git@example.org/infra", "git+file:///etc/nixos",
		"git+file:/etc/nixos", "https://example.org/infra.tar.gz", "flake:infra", "git://example.org/x", "tarball+https://h/x.tar",
	} {
		if err := CheckUpdateRef(ref); err != nil {
			t.Error(err)
		}
	}
	for ref, why := range map[string]string{
		"":                                    "empty",
		".":                                   "no scheme",
		"./infra":                             "no scheme",
		"/etc/nixos":                          "no scheme",
		"~/infra":                             "no scheme",
		"infra":                               "no scheme",
		"nixpkgs/nixos-25.11":                 "no scheme",
		"C/x:y":                               "no scheme",
		"path:/etc/nixos":                     "path:",
		"path:.":                              "path:",
		"/nix/store/abc-source":               "store",
		"path:/nix/store/abc-source":          "store",
		"git+file:///nix/store/abc-source":    "store",
		"git+file:///nix//store/../store/abc": "store",
		"git+file:///x?dir=/nix/store/abc":    "store",
		"git+file:///nix%2Fstore/abc":         "store",
		"git+file://./infra":                  "not absolute",
		"git+file:infra":                      "not absolute",
		"git+file://host/infra":               "not absolute",
		"github:owner":                        "OWNER/REPO",
		"github:/repo":                        "OWNER/REPO",
		"github:?dir=a/b":                     "OWNER/REPO",
		"githb:o/r":                           "did you mean `github`",
		"git+https:///x":                      "no host",
		"https:x":                             "no host",
		"flake:":                              "registry",
		"github:o/r#web":                      "`#`",
		"github:o/r\n":                        "control",
		"github:o/r x":                        "spaces",
		"--help":                              "`-`",
		"git+https://u:pw@example.org/infra":  "password",
		"https://h/x.tar.gz?access_token=abc": "password",
		"github:o/" + strings.Repeat("r", maxRefLength): "too long",
	} {
		err := CheckUpdateRef(ref)
		if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v does not say %q in one line", ref, err, why)
		}
	}
}

func FuzzUpdateRef(f *testing.F) {
	for _, s := range []string{
		"github:o/r", "git+file:///etc/nixos", "path:/x", "git+file:///nix/store/x", "git+https://h/x?dir=%2fnix/store/y", "flake:x", "https://h", "./x", "%", "git+file:////nix/store/a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		err := CheckUpdateRef(ref)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return unicode.IsControl(r) }) {
				t.Errorf("%q: control characters in %q", ref, err)
			}
			return
		}
		if strings.HasPrefix(ref, "-") || strings.Contains(ref, "#") || strings.ContainsFunc(ref, unicode.IsSpace) || strings.ContainsFunc(ref, unicode.IsControl) || len(ref) > maxRefLength {
			t.Errorf("accepted %q", ref)
		}
		scheme, rest, ok := strings.Cut(ref, ":")
		if !ok || scheme == "path" || rest == "" || strings.ContainsAny(scheme, "/.~") {
			t.Errorf("accepted %q without a useful scheme", ref)
		}
		decoded, err := url.PathUnescape(ref)
		if strings.Contains(ref, "/nix/store/") || err == nil && strings.Contains(decoded, "/nix/store/") {
			t.Errorf("accepted %q in the store", ref)
		}
	})
}
