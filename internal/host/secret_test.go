package host

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/health"
	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
)

// What a check may have as a secret is in no file of the host, whatever becomes of
// the deployment: not in its note, nor in what is written when another process takes
// it over, nor in the history. That there was such a check is known.
func TestSecretsOfChecksAreInNoFile(t *testing.T) {
	h := twoRunners(t)
	h.Nix.Calls = nil
	none := func(when string) {
		t.Helper()
		err := filepath.WalkDir(h.Layout.Root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || d.Name() == "helper" { // this test's own program
				return err
			}
			if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), "hunter2") {
				t.Errorf("%s: %s has %s", when, path, b)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	secret := hostapi.Confirmation{
		Await: true, Seconds: 60, Command: "curl -u me:hunter2 localhost",
		Checks: health.Checks{HTTP: []string{"http://me:hunter2@127.0.0.1:1/x?key=hunter2"}},
	}
	c := h.session()
	c.prepare(hosttest.RunnerB)
	live := commitB(secret)
	live.Activation = hostapi.ActivateLive
	if err := c.ask(hostapi.Request{Activate: &hostapi.ActivateRequest{Name: web, Runner: hosttest.RunnerB, Commit: live}}, nil); err != nil {
		t.Fatal(err)
	}
	none("a live switch is announced")
	note, err := h.Layout.VM(web).Notes().Deployment()
	if err != nil || len(note.Commit.Confirm.Withheld) != 2 {
		t.Fatalf("%+v, %v", note, err)
	}
	if err := h.Layout.VM(web).Notes().PutDeployment(note); err != nil {
		t.Fatal(err)
	}
	if again, err := h.Layout.VM(web).Notes().Deployment(); err != nil || len(again.Commit.Confirm.Withheld) != 2 {
		t.Errorf("written again: %+v, %v", again, err)
	}
	short := secret
	short.Seconds = 1 // the check fails: nobody listens there
	h.Units.Asked = func() error { none("the commit is under way"); return nil }
	if err := c.ask(hostapi.Request{Commit: commitB(short)}, nil); err == nil {
		t.Error("a check passed that nothing answers")
	}
	none("the commit has failed")
	c.leave()
	none("it is over")
}
