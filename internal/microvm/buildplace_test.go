package microvm

import (
	"strings"
	"testing"
)

func TestParseBuildPlace(t *testing.T) {
	for _, s := range []string{"host", "local", "ssh-ng://builder", "ssh-ng://root@builder.example.com", "ssh-ng://root@10.0.0.2:2222", "ssh-ng://[fe80::1]", "ssh-ng://root@[fe80::1]:22"} {
		p, err := ParseBuildPlace(s)
		if err != nil || p.String() != s {
			t.Errorf("%s: %v, %v", s, p, err)
		}
		if (s == "host") != p.OnHost() || (s == "local") != p.Local || (p.Builder == nil) != (p.OnHost() || p.Local) {
			t.Errorf("%s: %+v", s, p)
		}
	}
	for _, s := range []string{
		"", "Host", "remote", "builder", "root@builder", "ssh://builder", "ssh-ng://", "ssh-ng://-oProxyCommand=x", "ssh-ng://a b",
		"ssh-ng://b?remote-program=sh", "ssh-ng://b/x", "ssh-ng://u:p@b", "ssh-ng://b:0", "ssh-ng://b#x", "ssh-ng://b;x", "auto", "daemon", "/tmp/x",
	} {
		if p, err := ParseBuildPlace(s); err == nil {
			t.Errorf("%q: %+v", s, p)
		}
	}
}

// What is wrong with the builder is said in the words of addresses.
func TestParseBuildPlaceSaysWhy(t *testing.T) {
	for s, want := range map[string]string{
		"ssh-ng://b:99999": `"ssh-ng://b:99999" is not a place to build: the port is out of range (`,
		"ssh-ng://u:p@b":   "a password has no place in an address",
		"ssh-ng://b?x=y":   "parameters after `?` are not supported; put them in ssh_config",
		"remote":           "neither a known word nor an ssh-ng:// URL",
	} {
		if _, err := ParseBuildPlace(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func FuzzBuildPlace(f *testing.F) {
	for _, s := range []string{"host", "local", "ssh-ng://a@b:1", "ssh-ng://[::1]", "ssh-ng://a%25b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseBuildPlace(s)
		if err != nil {
			return
		}
		again, err := ParseBuildPlace(p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("%q reads as %q, which reads as %q, %v", s, p, again, err)
		}
	})
}
