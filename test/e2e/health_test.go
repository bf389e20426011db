//go:build lab

package e2e

import (
	"strings"
	"testing"

	"ferry/internal/deploy/result"
)

// The flake says when a VM is well; an option replaces what it says of the same
// kind, for a deployment and for a rollback.
func TestHealthOfTheFlake(t *testing.T) {
	in, vm := newLive(t, "fit")
	health := func(text string) {
		flake := in.read("flake.nix")
		before, rest, _ := strings.Cut(flake, "# begin\n")
		if _, after, ok := strings.Cut(rest, "# end\n"); ok {
			flake = before + after
		}
		in.write("flake.nix", strings.Replace(flake, `target = "root@box";`, "target = \"root@box\";\n# begin\nhealth = "+text+";\n# end\n", 1))
	}
	page := "http://" + world.guest1.Addr + "/"
	health(`{ http = [ "` + page + `" ]; tcp = [ "` + world.guest1.Addr + `:22" ]; command = "curl -s http://localhost/ | grep second"; timeout = 30; }`)
	in.write("fit.nix", liveModule("fit", "second"))
	in.ferry("rebuild", "fit").want(0, "checking from root@host1", "fit: switched live").without("nothing acts on it yet")
	second := vm.link("current")

	// The command is the flake's until the option replaces it.
	in.write("fit.nix", liveModule("fit", "third"))
	in.ferry("rebuild", "fit", "--confirm-timeout=4").want(4, "the check command failed in the guest at root@box", "undone: the guest runs ")
	in.ferry("rebuild", "fit", "--check-command=true", "--check-tcp="+world.guest1.Addr+":1", "--confirm-timeout=4").
		want(4, "TCP "+world.guest1.Addr+":1: connect: connection refused", "undone: the guest runs ").without("HTTP " + page)
	if vm.link("current") != second {
		t.Fatalf("current is %s after two that were undone", vm.link("current"))
	}
	in.ferry("rebuild", "fit", "--check-command=true").want(0, "switched live")

	health(`{ http = [ "` + page + `" "http://` + world.guest1.Addr + `:1/x?token=secret" ]; timeout = 4; }`)
	third := vm.link("current")
	in.ferry("rollback", "fit").want(4, "HTTP http://"+world.guest1.Addr+":1/x: connect: connection refused").without("secret")
	if vm.link("current") != third {
		t.Error("the rollback was not undone")
	}
	if res := in.deploy(result.OutcomeSwitched, "rollback", "fit", "--check-http="+page); string(res.Runner) != second {
		t.Errorf("it went back to %s", res.Runner)
	}
}
