package option

import (
	"testing"

	"ferry/internal/cmdline"

	"github.com/spf13/cobra"
)

func TestBuildFlags(t *testing.T) {
	for _, c := range []struct {
		args       []string
		on         string // empty: not said
		evalOnHost bool
		no         bool
		wrong      bool
	}{
		{},
		{args: []string{"--build-on", "host"}, on: "host"},
		{args: []string{"--build-on=local", "--no-substitute-on-destination"}, on: "local", no: true},
		{args: []string{"--build-on=local", "--substitute-on-destination=false"}, on: "local", no: true},
		{args: []string{"--build-on=ssh-ng://root@b:22", "--substitute-on-destination"}, on: "ssh-ng://root@b:22"},
		{args: []string{"--eval-on", "host"}, evalOnHost: true},
		{args: []string{"--eval-on", "operator"}},
		{args: []string{"--eval-on", "local"}, wrong: true},
		{args: []string{"--build-on", "root@b"}, wrong: true},
		{args: []string{"--build-on", "ssh-ng://-oProxyCommand=x"}, wrong: true},
	} {
		var o Build
		cmd := &cobra.Command{}
		o.AddFlags(cmd)
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		b, err := o.Building()
		if (err != nil) != c.wrong {
			t.Errorf("%q: %v", c.args, err)
		}
		if err != nil {
			if cmdline.ExitCode(err) != cmdline.ExitUsage {
				t.Errorf("%q: exit code %d", c.args, cmdline.ExitCode(err))
			}
			continue
		}
		if (b.On == nil) != (c.on == "") || b.On != nil && b.On.String() != c.on || b.EvalOnHost != c.evalOnHost || b.NoSubstitute != c.no {
			t.Errorf("%q: %+v", c.args, b)
		}
	}
}
