package cli

import (
	"bytes"
	"strings"
	"testing"

	"ferry/internal/cli/console"
	"ferry/internal/cmdline"
	"ferry/internal/host/setup"
	"ferry/internal/hostapi"
	"ferry/internal/ui"
)

func TestSetupBadInput(t *testing.T) {
	t.Chdir(t.TempDir()) // no flake to ask
	for _, c := range []struct{ args, want string }{
		{"host setup a b", "setup takes one host"},
		{"host setup -oProxyCommand=x", "unknown"},
		{"host setup -- -oProxyCommand=x", "begins with `-`"},
		{"host setup a;b", "characters that are not allowed"},
		{"host setup root@server --remvoe", "unknown flag: --remvoe"},
		{"autostart", "needs the name of a VM"},
		{"autostart web", "needs `on` or `off`"},
		{"autostart web maybe", "needs `on` or `off`"},
		{"autostart web on off", "too many arguments"},
		{"autostart we/b on", "is not a valid VM name"},
		{"autostart web on", "the host of web is not known"},
		{"host autostart web", "accepts 2 arg(s)"},
	} {
		code, out, errw := run(t, strings.Fields(c.args)...)
		if code != cmdline.ExitUsage || !strings.Contains(errw, c.want) || out != "" {
			t.Errorf("%s: exit code %d\n%s%s", c.args, code, errw, out)
		}
	}
}

func show(t *testing.T, asJSON, remove bool, r *setup.Report) (stdout, stderr string, err error) {
	t.Helper()
	var out, errw bytes.Buffer
	a := &console.Console{UI: ui.New(&out, &errw, true)}
	a.UI.JSON = asJSON
	err = showSetup(a.UI, "server", r, remove)
	return out.String(), errw.String(), err
}

func TestSetupText(t *testing.T) {
	changes := []setup.Change{
		{Verb: setup.Create, Kind: "user", Name: "microvm"},
		{Verb: setup.Update, Kind: "file", Name: "/etc/x", Diff: "-old\n+\x1b[31mnew\n"},
		{Verb: setup.Keep, Kind: "file", Name: "/etc/y", Note: "changed since ferry wrote it"},
	}
	for _, c := range []struct {
		outcome setup.Outcome
		remove  bool
		want    string
	}{
		{setup.OutcomePlanned, false, "server: this would be done\n  create user microvm\n  update file /etc/x\n    -old\n    +\\x1b[31mnew\n  keep file /etc/y (changed since ferry wrote it)\n"},
		{setup.OutcomeDone, false, "server: set up as a host of MicroVMs\n  created user microvm\n  updated file /etc/x\n  kept file /etc/y (changed since ferry wrote it)\n"},
		{setup.OutcomeRemoved, true, "server: setup undone\n  created user"},
	} {
		out, _, err := show(t, false, c.remove, &setup.Report{Outcome: c.outcome, Changes: changes})
		if err != nil || !strings.HasPrefix(out, c.want) {
			t.Errorf("%s: %v\n%s", c.outcome, err, out)
		}
	}
	for remove, want := range map[bool]string{false: "server: nothing to do: set up already\n", true: "server: nothing to do: not set up by ferry\n"} {
		if out, _, err := show(t, false, remove, &setup.Report{Outcome: setup.OutcomeUnchanged}); err != nil || out != want {
			t.Errorf("%q, %v", out, err)
		}
	}
}

// On NixOS stdout has what to configure, and the exit code says that this is no
// host yet; where other units run VMs it is one.
func TestSetupElsewhere(t *testing.T) {
	out, _, err := show(t, false, false, &setup.Report{Outcome: setup.OutcomeNixOS, Advice: "advice\n"})
	if out != "advice\n" || !hostapi.IsRefused(err) {
		t.Errorf("%q, %v", out, err)
	}
	out, errw, err := show(t, false, false, &setup.Report{Outcome: setup.OutcomeOther, Advice: "advice\n", Warnings: []string{"a host already"}})
	if !strings.Contains(out, "nothing was changed") || !strings.Contains(errw, "a host already") || err != nil {
		t.Errorf("%q, %q, %v", out, errw, err)
	}
	out, _, err = show(t, false, false, &setup.Report{Outcome: setup.OutcomeOther})
	if !strings.Contains(out, "server: nothing was changed; ferry deploys to this host as it is") || strings.Contains(out, "NixOS") || err != nil {
		t.Errorf("a host that is not NixOS: %q, %v", out, err)
	}
}

func TestSetupJSON(t *testing.T) {
	out, _, err := show(t, true, false, &setup.Report{Outcome: setup.OutcomeDone, Changes: []setup.Change{{Verb: setup.Create, Kind: "group", Name: "kvm"}}})
	want := `{"host":"server","outcome":"set up","changes":[{"verb":"create","kind":"group","name":"kvm"}]}` + "\n"
	if err != nil || out != want {
		t.Errorf("%s, %v", out, err)
	}
}
