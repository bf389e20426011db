package deploy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
)

// What the command line names replaces all of its kind that the flake names, and
// nothing else.
func TestConfirmOrHealth(t *testing.T) {
	health := &flake.Health{TCP: []string{"a:1", "b:2"}, HTTP: []string{"http://a"}, Command: "true", Timeout: time.Minute}
	all := Confirm{Checks: hostapi.Checks{TCP: health.TCP, HTTP: health.HTTP}, Command: "true", Timeout: time.Minute}
	some := Confirm{NoRollback: true, Checks: hostapi.Checks{TCP: []string{"c:3"}}, Timeout: time.Second}
	for _, c := range []struct {
		name  string
		given Confirm
		flake *flake.Health
		want  Confirm
	}{
		{"a flake without health", some, nil, some},
		{"an empty health", some, &flake.Health{}, some},
		{"no options", Confirm{}, health, all},
		{"some options", some, health, Confirm{
			NoRollback: true, Checks: hostapi.Checks{TCP: []string{"c:3"}, HTTP: health.HTTP}, Command: "true", Timeout: time.Second,
		}},
	} {
		if diff := cmp.Diff(c.want, c.given.Or(c.flake)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
