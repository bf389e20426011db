package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// What is wrong in a command line is found before any machine is asked.
func TestLifeWrongUsage(t *testing.T) {
	t.Chdir(t.TempDir()) // no flake
	for args, want := range map[string]string{
		"start":                                 "start needs the name of a VM",
		"stop a/b":                              "a/b",
		"restart web extra":                     "too many arguments",
		"start web":                             "the host of web is not known",
		"logs web -n 0":                         "-n takes a number",
		"logs web -n 1000000":                   "-n takes a number",
		"history web -n -1":                     "-n takes a number",
		"rollback web --to 0":                   "0 is not a generation",
		"rollback web --to x":                   "invalid argument",
		"rollback web --restart=maybe":          "unknown --restart",
		"rollback web --target=-oProxyCommand":  "--target",
		"rollback web --target=local":           "never `local`",
		"diff web 0":                            "is not a generation",
		"diff web 1 2 3":                        "too many arguments",
		"remove web --yes --keep-data":          "one or the other",
		"ssh":                                   "ssh needs the name of a VM",
		"ssh web --frobnicate ls":               "frobnicate",
		"ssh web ls":                            "the host of web is not known",
		"stop web --host=-oProxyCommand=x":      "-oProxyCommand",
		"generations web --host=a --frobnicate": "frobnicate",
	} {
		code, out, errw := run(t, strings.Fields(args)...)
		if code != cmdline.ExitUsage || out != "" || !strings.Contains(errw, want) || !strings.Contains(errw, "hint: ") {
			t.Errorf("ferry %s: exit code %d, stdout %q\n%s", args, code, out, errw)
		}
	}
}

func TestHistoryText(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	text := historyText([]hostapi.HistoryEntry{
		{Deployment: hostapi.Deployment{By: "ann@laptop", Started: at, Action: "switch", Revision: "0123456789abcdef"}, Outcome: "switched", Runner: "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web"},
		{Deployment: hostapi.Deployment{By: "bob\x1b[2J", Started: at, Action: "switch", RollbackTo: 3}, Outcome: "failed", Error: "nix copy: exit status 1\nerror: No space left on device"},
	})
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != 3 || strings.Contains(text, "\x1b") {
		t.Fatalf("got:\n%s", text)
	}
	if !strings.Contains(lines[1], "switched  microvm-qemu-web (0123456789ab)") || !strings.Contains(lines[2], "rollback to 3  failed    nix copy: exit status 1: No space left on device") {
		t.Errorf("got:\n%s", text)
	}
}

func TestLifeTexts(t *testing.T) {
	up := hostapi.UnitState{ActiveState: "active"}
	for want, l := range map[string]hostapi.Life{
		"web: started on server1 (2.1 s)\n":                  {VM: "web", Outcome: "started", Seconds: 2.123},
		"web: unchanged on server1: it is already running\n": {VM: "web", Outcome: "unchanged", Unit: up},
		"web: unchanged on server1: it is already stopped\n": {VM: "web", Outcome: "unchanged"},
	} {
		if got := lifeText("server1", l); got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
	}
	line := hostapi.LogLine{Time: time.Now(), Unit: "microvm-tap-interfaces@web.service", Line: "no\x07 bridge"}
	if got := logText("web", line); !strings.HasSuffix(got, " tap-interfaces: no\\x07 bridge\n") {
		t.Errorf("got %q", got)
	}
	line.Unit = microvm.Name("web").Unit()
	if got := logText("web", line); strings.Contains(got, "microvm") {
		t.Errorf("got %q", got)
	}
	d := hostapi.Diff{VM: "web", From: hostapi.Generation{Number: 1}, To: hostapi.Generation{Number: 2}, ConfigurationOnly: true, Hardware: []string{"memory 1 → 2 MiB"}}
	if got := diffText(d); got != "web: generation 1 → 2\n  memory 1 → 2 MiB\n  configuration only: no package changed\n" {
		t.Errorf("got %q", got)
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 30: "5.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d bytes are %q", n, got)
		}
	}
}

// Nix's options in a command for the guest reach it as they were typed.
func TestGuestCommandIsUntouched(t *testing.T) {
	typed := []string{"nix", "build", "--option", "cores", "2", "--override-input", "a", "b", "--x=1"}
	if got := option.SplitTwoValues(option.JoinTwoValues(typed)); !slices.Equal(got, typed) {
		t.Errorf("got %q", got)
	}
}
