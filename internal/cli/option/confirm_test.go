package option

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/deploy/request"
	"ferry/internal/health"
)

// parsed is a command that only has the options.
func parsed(args ...string) (request.Confirm, time.Duration, error) {
	var o Confirm
	var wait time.Duration
	cmd := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error { return nil }, SilenceErrors: true, SilenceUsage: true}
	o.AddFlags(cmd.Flags())
	cmdline.AddWaitFlag(cmd, &wait)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return o.Confirm(), wait, err
}

func TestConfirmOptions(t *testing.T) {
	got, wait, err := parsed("--no-rollback", "--accept-failed-units", "--confirm-timeout=90", "--activation-limit", "1h30m",
		"--check-tcp", "10.0.0.5:443", "--check-tcp=[fd00::5]:80", "--check-http", "http://10.0.0.5/a,b", "--check-command", "systemctl is-active a, b", "--wait")
	if err != nil {
		t.Fatal(err)
	}
	want := request.Confirm{
		NoRollback: true, AcceptFailedUnits: true, Timeout: 90 * time.Second, ActivationLimit: 90 * time.Minute,
		Checks:  health.Checks{TCP: []string{"10.0.0.5:443", "[fd00::5]:80"}, HTTP: []string{"http://10.0.0.5/a,b"}},
		Command: "systemctl is-active a, b",
	}
	if diff := cmp.Diff(want, got); diff != "" || wait != 30*time.Minute {
		t.Errorf("waits %s; %s", wait, diff)
	}
	if got, wait, err := parsed(); err != nil || wait != 0 || cmp.Diff(request.Confirm{}, got) != "" {
		t.Errorf("without options: %+v, %s, %v", got, wait, err)
	}
	if _, wait, err := parsed("--wait=45s"); err != nil || wait != 45*time.Second {
		t.Errorf("%s, %v", wait, err)
	}
}

func TestConfirmOptionsAreChecked(t *testing.T) {
	for _, c := range []struct{ arg, want string }{
		{"--confirm-timeout=soon", "expected a time such as 30s or 2m"},
		{"--confirm-timeout=0", "expected a time from 1s to 24h"},
		{"--confirm-timeout=-5", "expected a time from 1s to 24h"},
		{"--confirm-timeout=10ms", "expected a time from 1s to 24h"},
		{"--confirm-timeout=99999999999", "expected a time from 1s to 24h"},
		{"--confirm-timeout=25h", "expected a time from 1s to 24h"},
		{"--activation-limit=", "expected a time such as"},
		{"--wait=", "expected a time such as"},
		{"--wait=0", "expected a time from 1s"},
		{"--check-tcp=web", "expected host:port"},
		{"--check-tcp=web:0", "expected host:port"},
		{"--check-tcp=we b:80", "expected host:port"},
		{"--check-http=web/x", "expected an http:// or https:// URL"},
		{"--check-http=file:///etc/passwd", "expected an http:// or https:// URL"},
		{"--check-command= ", "is empty; expected a shell command"},
	} {
		if _, _, err := parsed(c.arg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.arg, err)
		}
	}
}
