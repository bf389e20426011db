package deploy

import (
	"strings"
	"testing"
)

// A builder may have "local" in its name.
func TestDryRunNamesTheBuilder(t *testing.T) {
	for on, want := range map[string]string{
		"":                       "web: would copy the derivations and build on root@server\n",
		"local":                  "web: would build on this machine and copy it to root@server\n",
		"ssh-ng://builder.local": "web: would build on ssh-ng://builder.local and copy it to root@server\n",
	} {
		r := Result{VM: "web", Host: "root@server", BuildOn: on, Outcome: OutcomeDryRun, Predicted: true}
		if got := r.Text(); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q", on, got)
		}
	}
}
