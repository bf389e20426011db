package deploy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/live"
	"ferry/internal/deploy/request"
	"ferry/internal/flake"
	"ferry/internal/guest"
	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remembered"
)

const secretURL = "http://me:hunter2@web/x?key=hunter2"

// remembersSecret is what a machine keeps of a live switch whose checks have secrets.
func remembersSecret(t *testing.T) remembered.Store {
	t.Helper()
	s := remembered.Store{Dir: t.TempDir()}
	web := address(t, "root@web")
	r := &run{Deployer: &Deployer{Memory: s, Report: &silent{}}, id: leftID}
	p := progress{
		to: request.Resolved{Attribute: "web", Name: "web", Host: ptr(address(t, "root@host1")), Target: &web, Action: hostapi.ActionSwitch,
			Confirm: request.Confirm{Command: "curl -u me:hunter2 localhost", Timeout: time.Minute, Checks: health.Checks{TCP: []string{"web:80"}, HTTP: []string{secretURL}}}},
		guest:  &live.Guest{Facts: guest.Facts{Current: ranSys}},
		record: microvm.Record{Name: "web", HostName: "web"},
		plan:   hostapi.Plan{Runner: leftRun, System: leftSys, HostName: "web", Install: true, Activation: hostapi.ActivateLive},
	}
	c := p.liveCommit()
	if strings.Contains(c.Confirm.Command, "hunter2") {
		t.Error("the host is told the command")
	}
	r.remember(p, c)
	return s
}

// What may be a secret in checks is not kept on the operator's machine: whoever
// attaches names it again, or has the flake, and is told so otherwise.
func TestSecretsOfChecksAreNotRemembered(t *testing.T) {
	with := request.Confirm{Command: "curl -u me:hunter2 localhost", Checks: health.Checks{HTTP: []string{"http://other/", secretURL}}}
	yields := &flakes{ev: &flake.Evaluation{Fleet: flake.Fleet{VMs: map[microvm.Name]flake.VM{
		"web": {Health: &flake.Health{Checks: with.Checks, Command: with.Command}},
	}}}}
	for name, c := range map[string]struct {
		flake *flakes
		named request.Confirm
		left  string
	}{
		"nothing":                     {&flakes{}, request.Confirm{}, "the check command, HTTP http://web/x"},
		"another URL":                 {&flakes{}, request.Confirm{Command: "true", Checks: health.Checks{HTTP: []string{"http://web/y?a"}}}, "HTTP http://web/x"},
		"named again":                 {&flakes{}, with, ""},
		"the flake":                   {yields, request.Confirm{}, ""},
		"the flake and what is named": {yields, request.Confirm{Command: "true"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l, m := liar(t, ""), remembersSecret(t)
			files, err := filepath.Glob(filepath.Join(m.Dir, "*"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			if b, _ := os.ReadFile(files[0]); strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), "web:80") {
				t.Errorf("kept: %s", b)
			}
			_, err = l.attach(m, c.flake, func(r *request.Attach) { r.Confirm = c.named })
			if c.left == "" {
				if err != nil {
					t.Fatal(err)
				}
				told := strings.Join(l.told, "\n")
				if !strings.Contains(told, "web:80") || !strings.Contains(told, secretURL) || strings.Contains(told, "other") {
					t.Errorf("the host was told %s", told)
				}
				return
			}
			var usage *request.UsageError
			if !errors.As(err, &usage) || !strings.Contains(usage.Message, "contain a secret: "+c.left) || !strings.Contains(usage.Hint(), "--check-command") {
				t.Errorf("got %v", err)
			}
			l.wantDialled("root@host1")
			if !left(m) {
				t.Error("it is forgotten")
			}
		})
	}
}
