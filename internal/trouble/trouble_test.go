package trouble

import (
	"errors"
	"fmt"
	"testing"
)

type about Section

func (about) Error() string      { return "it failed" }
func (a about) Section() Section { return Section(a) }

func TestTheOutermostSectionCounts(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want Section
	}{
		"no error":           {nil, ""},
		"an error of others": {errors.New("x"), ""},
		"wrapped":            {fmt.Errorf("web: %w", about("sudo")), "sudo"},
		"one without it":     {fmt.Errorf("%w: %w", about(""), about("sudo")), "sudo"},
		"the first of two":   {errors.Join(about("no-kvm"), about("sudo")), "no-kvm"},
	} {
		if got := Of(c.err); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
