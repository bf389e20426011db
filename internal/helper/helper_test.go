package helper

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"ferry/internal/cmdline"
)

func TestMicrovmByName(t *testing.T) {
	for line, want := range map[string]bool{
		"microvm": true, "/usr/local/bin/microvm -l": true, "ferry -l": false, "microvm host session": false, "/x/microvm-old -l": false,
	} {
		if got := IsMicrovm(strings.Fields(line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
	var out, errs bytes.Buffer
	if code := RunMicrovm(context.Background(), nil, nil, &out, &errs); code != cmdline.ExitDone || !strings.Contains(out.String(), "Exit codes:") {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	out.Reset()
	if code := RunMicrovm(context.Background(), []string{"-u", "web", "-R"}, nil, &out, &errs); code != cmdline.ExitUsage || out.Len() > 0 || !strings.Contains(errs.String(), "hint: ") {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
}

// What ferry and units on hosts start, this program has.
func TestCommandLines(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string // in what it prints
	}{
		{"--version", cmdline.ExitDone, "ferry-helper version "},
		{"host --version", cmdline.ExitDone, "ferry-helper version "},
		{"host session --help", cmdline.ExitDone, "one JSON object a line"},
		{"host settle --help", cmdline.ExitDone, "--boot"},
		{"host start --help", cmdline.ExitDone, "ferry-helper host start NAME"},
		{"host guard web", cmdline.ExitUsage, "guard needs a VM and a deployment"},
		{"host vsock-proxy we/b", cmdline.ExitUsage, "usage: ferry-helper host vsock-proxy NAME"},
		{"host autostart web", cmdline.ExitUsage, "accepts 2 arg(s)"},
		{"host diff", cmdline.ExitUsage, "diff needs the name of a VM"},
		{"host", cmdline.ExitUsage, "host needs a command"},
		{"rebuild web", cmdline.ExitUsage, "unknown command"},
		{"", cmdline.ExitUsage, "no command given"},
	} {
		var out bytes.Buffer
		code := Run(t.Context(), strings.Fields(c.args), strings.NewReader(""), &out, &out)
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit code %d\n%s", c.args, code, out.String())
		}
	}
}
