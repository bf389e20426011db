//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/guest"
	"ferry/internal/lab"
	"ferry/internal/microvm"
)

// after has the guest do something when the switch to a system has ended, which no
// other system undoes.
func after(do string) string {
	return fmt.Sprintf(`lab.activation = "systemd-run --quiet --collect sh -c 'until [ -s /run/ferry/*/status ]; do sleep 0.2; done; %s'";`, do)
}

// A new system takes the guest's network away, and the previous one does not bring it
// back. Nobody can reach the guest after its undo, neither from here nor from the
// host, so the host boots it: once, with what ran.
func TestGuestOutOfReachIsRestartedOnce(t *testing.T) {
	in, vm := newLive(t, "vanishes")
	first, current, invocation := runningSystem(t, world.guest1), vm.link("current"), vm.invocation()
	in.write("vanishes.nix", liveModule("vanishes", "second", after("ip link set host0 down")))
	run := in.begin("rebuild", "vanishes", "--confirm-timeout=3s")
	eventually(t, "the VM to be restarted", 6*time.Minute, func() bool { return vm.property("ActiveState") == "active" && vm.invocation() != invocation })
	restarted := vm.invocation()
	vm.boot(world.guest1)
	run.wait().want(4, "which has restarted it: it boots "+current+", as before: the guest runs "+first)
	if vm.invocation() != restarted || vm.link("current") != current || runningSystem(t, world.guest1) != first {
		t.Errorf("restarted again: %t; `current` is %s", vm.invocation() != restarted, vm.link("current"))
	}
	if vm.locked() || vm.root("ferry/vanishes/pending") != "" {
		t.Error("the deployment has not ended")
	}
	in.ferry("rebuild", "vanishes", "--dry-run").want(0, "switch live")
}

// Where only the operator's own way to the guest is gone, nothing is restarted.
func TestOperatorOutOfReachRestartsNothing(t *testing.T) {
	in, vm := newLive(t, "cutofffromus")
	guestBefore := liveContract(t, world.guest1)
	invocation := vm.invocation()
	operator := strings.Fields(output(t, world.operator, "hostname", "-I"))[0]
	t.Cleanup(func() { _, _ = world.guest1.Output(context.Background(), "ip", "route", "flush", "type", "blackhole") })
	in.write("cutofffromus.nix", liveModule("cutofffromus", "second", after("ip route add blackhole "+operator+"/32")))
	in.ferry("rebuild", "cutofffromus", "--confirm-timeout=3s").want(1, "not reachable from here, but reachable from root@host1")
	if vm.invocation() != invocation {
		t.Error("the VM was restarted")
	}
	if after := liveContract(t, world.guest1); after != guestBefore {
		t.Errorf("the guest was not put back:\n%s", difference(guestBefore, after))
	}
	output(t, world.guest1, "ip", "route", "flush", "type", "blackhole")
	in.write("cutofffromus.nix", liveModule("cutofffromus", "third"))
	in.ferry("rebuild", "cutofffromus").want(0, "switched live")
}

// Of two who switch a guest at the same time, neither with a host that could lock it,
// one does, and the other has changed nothing.
func TestOnlyOneSwitchesAGuest(t *testing.T) {
	_, _ = newLive(t, "ours")
	sh, system := inside{world.guest1}, microvm.StorePath(runningSystem(t, world.guest1))
	for round := range 10 {
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i := range errs {
			wg.Go(func() {
				errs[i] = guest.Start(t.Context(), sh, guest.Switch{
					ID: fmt.Sprintf("both-%d-%d", round, i), System: system, Action: "test", Window: time.Minute, By: fmt.Sprintf("user%d@laptop", i),
				})
			})
		}
		wg.Wait()
		var locked *guest.LockedError
		for i, err := range errs {
			id := fmt.Sprintf("both-%d-%d", round, i)
			switch {
			case err == nil:
				if _, _, err := guest.Follow(t.Context(), sh, id, 0, io.Discard); err != nil {
					t.Fatal(err)
				}
				if a, err := guest.Confirm(t.Context(), sh, guest.ConfirmRequest{ID: id, System: system}); err != nil || !a.Confirmed {
					t.Errorf("round %d: %+v, %v", round, a, err)
				}
			case !errors.As(err, &locked):
				t.Errorf("round %d: %v", round, err)
			default:
				if out, err := world.guest1.Output(t.Context(), "ls", "/run/ferry/"+id); err == nil {
					t.Errorf("round %d: the loser has left %s", round, out)
				}
			}
		}
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("round %d: %v and %v", round, errs[0], errs[1])
		}
	}
}

// `ferry switch` beside another one: exit code 5, or after it, never undone.
func TestTwoSwitchesWithoutAHost(t *testing.T) {
	in, _ := newLive(t, "twice")
	in.write("twice.nix", liveModule("twice", "second", "lab.switchSleep = 2;"))
	in.ferry("install", "twice").want(0)
	in.write("flake.nix", strings.Replace(in.read("flake.nix"), "vms.twice", "vms.nobody", 1))
	in.ferry("switch", "twice", "root@box", "--dry-run").want(0)
	var wg sync.WaitGroup
	runs := make([]*ran, 2)
	for i := range runs {
		wg.Go(func() { runs[i] = in.ferryWith(lab.Cmd{}, "switch", "twice", "root@box") })
	}
	wg.Wait()
	done := 0
	for _, r := range runs {
		switch r.code {
		case 0:
			done++
		case 5:
			r.want(5, "is locked: ", "switches the guest")
		default:
			t.Error(r)
		}
	}
	if page := output(t, world.guest1, "curl", "-s", "http://localhost/"); done == 0 || !strings.Contains(page, "second") {
		t.Errorf("%d have switched; the page is %s", done, page)
	}
}
