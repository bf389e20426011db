package deploy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/deploy/request"
	"ferry/internal/flake"
	"ferry/internal/health"
)

// What the command line names replaces all of its kind that the flake names, and
// nothing else.
func TestConfirmOrHealth(t *testing.T) {
	said := &flake.Health{Checks: health.Checks{TCP: []string{"a:1", "b:2"}, HTTP: []string{"http://a"}}, Command: "true", Timeout: time.Minute}
	all := request.Confirm{Checks: health.Checks{TCP: said.TCP, HTTP: said.HTTP}, Command: "true", Timeout: time.Minute}
	some := request.Confirm{NoRollback: true, Checks: health.Checks{TCP: []string{"c:3"}}, Timeout: time.Second}
	for _, c := range []struct {
		name  string
		given request.Confirm
		flake *flake.Health
		want  request.Confirm
	}{
		{"a flake without health", some, nil, some},
		{"an empty health", some, &flake.Health{}, some},
		{"no options", request.Confirm{}, said, all},
		{"some options", some, said, request.Confirm{
			NoRollback: true, Checks: health.Checks{TCP: []string{"c:3"}, HTTP: said.HTTP}, Command: "true", Timeout: time.Second,
		}},
	} {
		if diff := cmp.Diff(c.want, c.given.Or(c.flake)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
