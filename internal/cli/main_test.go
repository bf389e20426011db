package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"ferry/internal/cli/console"
	"ferry/internal/deploy"
	"ferry/internal/hostapi"
	"ferry/internal/ui"
)

func TestErrorsNameTheirSubjectOnce(t *testing.T) {
	for want, err := range map[string]error{
		"error: c110 has no generation 7\n":     &deploy.Error{VM: "c110", Err: hostapi.Refuse("c110 has no generation 7", "")},
		"error: web: the build failed\n":        &deploy.Error{VM: "web", Err: errors.New("web: the build failed")},
		"error: web: web2 is not a VM\n":        &deploy.Error{VM: "web", Err: errors.New("web2 is not a VM")},
		"error: web: webbed feet\n":             &deploy.Error{VM: "web", Err: errors.New("webbed feet")},
		"error: no VM: no VM is on this host\n": errors.New("no VM: no VM is on this host"),
	} {
		var out bytes.Buffer
		(&console.Console{UI: ui.New(&out, &out, true)}).PrintError(err)
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("%q, wanted %q", out.String(), want)
		}
	}
}
