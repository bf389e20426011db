package fetch

import (
	"strings"
	"testing"
)

// A password goes to the machine that the file names, or nowhere.
func FuzzNetrc(f *testing.F) {
	f.Add("machine git.example.org login alice password hunter2")
	f.Add("default login x password y machine a login b")
	f.Add("machine \x00 password \"a b\"")
	f.Fuzz(func(t *testing.T, content string) {
		n, err := parseNetrc([]byte(content))
		if err != nil {
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a password: %v", err)
			}
			return
		}
		for machine := range n.machines {
			if !strings.Contains(strings.ToLower(content), machine) {
				t.Errorf("%q is nowhere in %q", machine, content)
			}
		}
	})
}

// An origin says where to go and nothing else, and stays what it is.
func FuzzOrigin(f *testing.F) {
	f.Add("https://cache.example.org")
	f.Add("https://user:pw@[::1]:443/?x#y")
	f.Add("HTTP://A:080/")
	f.Fuzz(func(t *testing.T, s string) {
		origin, err := ParseOrigin(s)
		if err != nil {
			return
		}
		if again, err := ParseOrigin(origin); err != nil || again != origin {
			t.Errorf("%q became %q, then %q, %v", s, origin, again, err)
		}
		if strings.ContainsAny(strings.TrimPrefix(strings.TrimPrefix(origin, "https://"), "http://"), "/@?# \n\x1b") {
			t.Errorf("%q became %q", s, origin)
		}
	})
}
