package flake

import (
	"strings"
	"testing"
)

// Each line is one flake in all the ways to write it; lines differ from each
// other.
func TestSameRef(t *testing.T) {
	rev := strings.Repeat("a1", 20)
	flakes := [][]string{
		{"github:acme/infra", "github:Acme/Infra", "github:acme/infra/", "github:acme/infra?ref=HEAD", "git+https://github.com/acme/infra", "git+https://github.com/acme/infra.git/", "git+ssh://git@github.com/acme/infra", "git+ssh://git@github.com:22/acme/infra.git"},
		{"github:acme/infra/flake-update", "github:acme/infra?ref=flake-update", "github:acme/infra?ref=refs/heads/flake-update", "git+https://github.com/acme/infra?ref=flake-update", "github:acme/infra/flake%2Dupdate", "github:acme/infra?narHash=sha256-AAA%3D&ref=flake-update"},
		{"github:acme/infra/feature/x", "github:acme/infra?ref=feature/x", "github:acme/infra?ref=feature%2Fx"},
		{"github:acme/infra/" + rev, "github:acme/infra?rev=" + rev},
		{"github:acme/infra?dir=hosts", "github:acme/infra?dir=/hosts/", "github:acme/infra?dir=./hosts"},
		{"github:acme/infra?host=git.example.org"},
		{"gitlab:acme/infra", "git+https://gitlab.com/acme/infra.git"},
		{"gitlab:acme%2Fgroup/infra", "git+https://gitlab.com/acme/group/infra"},
		{"sourcehut:~acme/infra", "git+https://git.sr.ht/~acme/infra"},
		{"git+https://git.example.org/infra?ref=flake-update", "git+https://git.example.org/infra/?ref=flake-update", "git+https://Git.Example.org:443/infra.git?ref=flake-update", "git+https://git.example.org//infra?ref=refs/heads/flake-update", "git+https://git.example.org/infra?shallow=1&ref=flake-update", "git+https://token@git.example.org/infra?ref=flake-update", "git+https://git.example.org/infra?ref=flake%2dupdate"},
		{"git+https://git.example.org/infra", "git+https://git.example.org/infra.git", "git+https://git.example.org/infra?dir="},
		{"git+https://git.example.org/infra?ref=main"},
		{"git+https://git.example.org/infra?ref=a+b", "git+https://git.example.org/infra?ref=a%2Bb"},
		{"git+https://git.example.org/infra?submodules=1"},
		{"git+https://git.example.org/Infra"},
		{"git+https://git.example.org:8443/infra"},
		{"git+http://git.example.org/infra"},
		{"git+ssh://git@git.example.org/infra", "git+ssh://git@git.example.org:22/infra.git"},
		{"git+ssh://git.example.org/infra"},
		{"git+file:///srv/infra", "git+file:/srv/infra", "git+file:///srv/infra/", "git+file:///srv//infra"},
		{"git+file:///srv/infra.git"},
		{"git+file:///srv/infra?ref=flake-update"},
		{"path:/srv/infra", "/srv/infra", "/srv/infra/"},
		{"flake:infra", "infra"},
		{"flake:infra/flake-update", "infra/flake-update", "flake:infra?ref=flake-update"},
		{"https://example.org/infra.tar.gz", "tarball+https://example.org/infra.tar.gz", "https://example.org:443/infra.tar.gz"},
		{"https://example.org/other.tar.gz"},
	}
	for i, a := range flakes {
		for _, x := range a {
			for j, b := range flakes {
				for _, y := range b {
					if SameRef(x, y) != (i == j) {
						t.Errorf("%s and %s: %v", x, y, i != j)
					}
				}
			}
		}
	}
}

// What can't be read is the same as nothing, not even as itself.
func TestSameRefOfNothing(t *testing.T) {
	for _, s := range []string{
		"", ".", "./infra", "../x", "-x", "github:", "github:acme", "github:acme//x", "github:acme/infra/main?ref=other",
		"git+https:///infra", "git+https://h:port/x", "no-such-scheme:x", "github:acme/infra#web", "git+https://h/x?ref=a&ref=b",
		"git+https://h/x?ref=%zz", "github:acme/%zz", "git+https://github.com/infra", "path:", "infra/a/b/c", "github:a/b\x00",
	} {
		if SameRef(s, s) {
			t.Errorf("%q is the same as itself", s)
		}
	}
}

func FuzzSameRef(f *testing.F) {
	for _, s := range []string{"github:acme/infra/main", "git+https://token@git.example.org:443/infra.git?ref=x&dir=y", "/srv", "a/b/c", "git+ssh://git@github.com/a/b"} {
		f.Add(s, "github:acme/infra?ref=main")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if SameRef(a, b) != SameRef(b, a) {
			t.Errorf("%q and %q: not the same both ways", a, b)
		}
		if SameRef(a, b) && !SameRef(a, a) {
			t.Errorf("%q is the same as %q but not as itself", a, b)
		}
	})
}
