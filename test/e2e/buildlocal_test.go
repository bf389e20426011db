//go:build lab

package e2e

import (
	"testing"

	"ferry/internal/lab"
)

// On the host itself nothing has to travel: built by the user who types, or
// evaluated from the store.
func TestBuildOnTheHostItself(t *testing.T) {
	in := newInfra(t, "", map[string]string{"itself": vmModule("itself")})
	in.copyTo(world.host1)
	vm := onHost(t, world.host1, "itself")
	for note, where := range map[string][]string{"a": {"--build-on", "local"}, "b": {"--eval-on", "host"}} {
		in.write("itself.nix", vmModule("itself", `lab.note = "`+note+`";`))
		in.copyTo(world.host1)
		err := world.host1.Run(t.Context(), lab.Cmd{Args: append([]string{"ferry", "rebuild", "itself", "local"}, where...), Dir: in.dir})
		if err != nil {
			t.Fatal(err)
		}
		if got := vm.noteOf(); got != note {
			t.Errorf("%v brought %s", where, got)
		}
		collectGarbage(t, world.host1)
		valid(t, world.host1, vm.link("current"))
	}
}

// The user's own multiplexed connections serve for copies between two machines
// as well.
func TestBuildOnBuilderOverTheUsersConnections(t *testing.T) {
	startBuilder(t)
	in := newInfra(t, "", map[string]string{"muxed": vmModule("muxed")})
	during(t, world.operator,
		`cp ~/.ssh/config ~/.ssh/config.own; printf 'Host *\n\tControlMaster auto\n\tControlPath /tmp/cm-%%C\n\tControlPersist 60\n' >>~/.ssh/config`,
		`mv ~/.ssh/config.own ~/.ssh/config; for s in /tmp/cm-*; do ssh -O exit -o ControlPath="$s" x 2>/dev/null || :; done`)
	in.ferry("rebuild", "muxed", "root@host2", "--build-on", "ssh-ng://root@builder").want(0, "started on root@host2")
	valid(t, world.host2, onHost(t, world.host2, "muxed").link("current"))
}
