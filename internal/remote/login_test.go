package remote

import (
	"strings"
	"testing"
	"time"
)

// A login shell that is noisy, endless or asleep is told apart, and none of them keeps
// ferry.
func TestLookAtLogin(t *testing.T) {
	for _, c := range []struct {
		name, startup string
		limit         time.Duration
		ok            func(l Login) bool
	}{
		{"quiet", "", time.Minute, func(l Login) bool { return l.Began && l.Noise == 0 && l.User != "" && l.Path != "" && l.Err == nil }},
		{"noisy", "echo Welcome; echo home", time.Minute, func(l Login) bool { return l.Began && l.Noise == 13 && l.First == "Welcome\nhome\n" && l.User != "" }},
		{"noisy without the end of a line", "printf Welcome", time.Minute, func(l Login) bool { return l.Began && l.Noise == 7 && l.UID != "" }},
		{"endless", noEnd, time.Minute, func(l Login) bool {
			return !l.Began && l.Endless && !l.Late && strings.HasPrefix(l.First, "Welcome to host1") && l.Noise > maxNoise
		}},
		{"asleep", "sleep 600", time.Second, func(l Login) bool { return !l.Began && l.Late && !l.Endless && l.Noise == 0 }},
		{"asleep after a word", "echo Wait; sleep 600", time.Second, func(l Login) bool { return l.Late && l.Noise == 5 && l.First == "Wait\n" }},
		{"gone", "exit 3", time.Minute, func(l Login) bool { return !l.Began && !l.Late && !l.Endless && l.Err != nil }},
		{"silent", "exit 0", time.Minute, func(l Login) bool { return !l.Began && l.Err == nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if l := LookAtLogin(t.Context(), shellMachine(c.startup, 0), c.limit); !c.ok(l) {
				t.Errorf("%+v", l)
			}
		})
	}
}

// What comes after the marker is bounded, too, and the marker may come in pieces.
func TestLoginOutput(t *testing.T) {
	over := false
	o := &loginOutput{marker: []byte("\nferry-1 "), began: time.Now(), over: func() { over = true }}
	for _, piece := range []string{"hel", "lo\n\nfer", "ry-1 ui", "d=0\nferry-1 user=her\n", "ferry-2 uid=7\n"} {
		if _, err := o.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if l := o.login("ferry-1"); !l.Began || l.Noise != 6 || l.UID != "0" || l.User != "her" {
		t.Errorf("%+v", l)
	}
	if _, err := o.Write(make([]byte, maxSaid)); err == nil || !over {
		t.Error("it takes answers without end")
	}
}
