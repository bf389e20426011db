//go:build lab

package e2e

import (
	"context"
	"testing"

	"ferry/internal/deploy/result"
)

// A collector that runs all the time takes nothing that a deployment needs which
// was built or evaluated elsewhere than usual.
func TestCollectorWhileBuiltElsewhere(t *testing.T) {
	startBuilder(t)
	in, vm := newLive(t, "gcplace")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	collector := make(chan int, 1)
	go func() {
		runs := 0
		for ctx.Err() == nil {
			if _, err := world.host1.Output(ctx, "nix-collect-garbage"); err == nil {
				runs++
			}
		}
		collector <- runs
	}()
	for page, where := range map[string][]string{
		"one": {"--build-on", "local"}, "two": {"--build-on", "ssh-ng://root@builder"}, "three": {"--eval-on", "host"},
	} {
		in.write("gcplace.nix", liveModule("gcplace", page))
		res := in.deploy(result.OutcomeSwitched, append([]string{"rebuild", "gcplace"}, where...)...)
		if got := runningSystem(t, world.guest1); got != string(res.System) {
			t.Errorf("the guest runs %s", got)
		}
		for _, p := range []string{string(res.Runner), vm.link("current"), vm.link("old"), vm.link("booted")} {
			valid(t, world.host1, p)
		}
	}
	stop()
	if runs := <-collector; runs < 3 {
		t.Errorf("the collector ran only %d times", runs)
	}
	if got := output(t, world.host1, "sh", "-c", "ls /nix/var/nix/gcroots/ferry/gcplace"); got != "running" {
		t.Errorf("roots left: %q", got)
	}
}
