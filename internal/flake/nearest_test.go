package flake

import "testing"

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		s    string
		of   []string
		want string
	}{
		{"adress", []string{"address", "sudo", "buildOn"}, "address"},
		{"web", []string{"db", "webb", "web2"}, "web2"}, // equally near: the first in order
		{"wbe", []string{"web"}, "web"},
		{"production-web", []string{"prod-web", "staging"}, ""},
		{"xyz", []string{"web"}, ""},
		{"a", []string{"b"}, ""},
		{"ab", []string{}, ""},
	} {
		if got := nearest(c.s, c.of); got != c.want {
			t.Errorf("nearest(%q, %q) = %q, want %q", c.s, c.of, got, c.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}, {"wbe", "web", 1}} {
		if got := distance(c.a, c.b); got != c.want || distance(c.b, c.a) != got {
			t.Errorf("%q, %q: %d and %d, want %d", c.a, c.b, got, distance(c.b, c.a), c.want)
		}
	}
}
