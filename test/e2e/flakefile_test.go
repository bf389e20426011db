//go:build lab

package e2e

import (
	"context"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
)

// Wherever a deployment from a working copy evaluates and builds, the file `flake`
// names the place that the user gave, and an update from there works.
// microvm-nix/microvm.nix#55, #416, #283
func TestFlakeFileNamesThePlaceAfterAWorkingCopy(t *testing.T) {
	const place, ref = "/srv/flake-file", "git+file:///srv/flake-file?ref=main"
	for name, where := range map[string][]string{
		"ffhost": nil, "fflocal": {"--build-on", "local"}, "ffeval": {"--eval-on", "host"},
	} {
		t.Run(name, func(t *testing.T) {
			in := newInfra(t, "", map[string]string{name: vmModule(name)})
			vm := onHost(t, world.host1, name)
			in.write(name+".nix", vmModule(name, `lab.note = "not committed";`))
			flakeFile := func() string {
				t.Helper()
				return output(t, world.host1, "sh", "-c", `cat "$1/flake" 2>/dev/null || echo none`, "sh", vm.dir())
			}
			run := func(outcome result.Outcome, more ...string) {
				t.Helper()
				in.deploy(outcome, append(append([]string{"rebuild", name, toHost1}, where...), more...)...)
			}
			run(result.OutcomeStarted)
			if got := flakeFile(); got != "none" {
				t.Errorf("a flake file appeared: %s", got)
			}
			for _, bad := range []string{in.dir, "path:" + in.dir, ".", "/nix/store/00000000000000000000000000000000-source"} {
				in.ferry(append([]string{"rebuild", name, toHost1, "--update-flake", bad}, where...)...).want(2, "--update-flake", hint)
			}
			run(result.OutcomeUnchanged, "--update-flake", ref) // but for the file
			if got := flakeFile(); got != ref {
				t.Errorf("the flake file has %q", got)
			}
			in.write(name+".nix", vmModule(name, `lab.note = "second";`))
			run(result.OutcomeRestarted)
			if got := flakeFile(); got != ref {
				t.Errorf("the flake file has %q", got)
			}

			// The work is pushed, and goes on there.
			in.write(name+".nix", vmModule(name, `lab.note = "pushed";`))
			in.op("sh", "-euc", `cd "$1"; git add -A; git commit -qm pushed`, "sh", in.dir)
			in.copyTo(world.host1) // its inputs
			in.copyAs(world.host1, place)
			t.Cleanup(func() {
				_, _ = world.host1.Output(context.WithoutCancel(t.Context()), "rm", "-rf", place, in.dir)
			})
			before := vm.link("current")
			microvmOn(t, world.host1, "/", "-Ru", name).want(0, "restarted")
			if vm.link("current") == before || !strings.Contains(vm.noteOf(), "pushed") {
				t.Errorf("the update brought %s (%s)", vm.link("current"), vm.noteOf())
			}
		})
	}
}
