//go:build lab

package e2e

import (
	"context"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

const hideNix = `mkdir -p /root/.nix-profile/bin
for p in /usr/bin/nix /usr/bin/nix-*; do mv "$p" /root/.nix-profile/bin/; done`

const showNix = `mv /root/.nix-profile/bin/* /usr/bin/ && rm -rf /root/.nix-profile`

// A command over SSH need not find Nix on a host: it may be in root's own profile. The
// VM's name has a dot, as a domain name's.
func TestNixIsNotOnThePATHOfAHost(t *testing.T) {
	in := newInfra(t, "", map[string]string{"no.nix": vmModule("nonix")})
	vm := onHost(t, world.host2, "no.nix")
	output(t, world.host2, "sh", "-c", hideNix)
	t.Cleanup(func() { // the test's own context has ended then
		if err := world.host2.Run(context.Background(), lab.Cmd{Args: []string{"sh", "-c", showNix}}); err != nil {
			t.Error(err)
		}
	})
	res := in.deploy(result.OutcomeStarted, "rebuild", "no.nix", "root@host2")
	if vm.link("current") != string(res.Runner) || vm.link("booted") != string(res.Runner) {
		t.Errorf("current %s, booted %s", vm.link("current"), vm.link("booted"))
	}
	if got := vm.root("microvm/old-no.nix"); got == "" {
		t.Error("`old` has no root")
	}
	in.write("no.nix.nix", vmModule("nonix", `lab.note = "2";`))
	in.deploy(result.OutcomeRestarted, "rebuild", "no.nix", "root@host2", "--build-on=local")
	in.ferry("remove", "no.nix", "--host", "root@host2", "--yes").want(0)
	if vm.root("microvm/no.nix") != "" {
		t.Error("a root was left")
	}
}
