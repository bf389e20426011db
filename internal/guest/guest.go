package guest

import (
	"context"
	_ "embed" // the scripts
	"fmt"

	"ferry/internal/microvm"
	"ferry/internal/remote"
)

//go:embed look.sh
var lookScript string

// Shell runs commands in the guest; a remote.Conn is one.
type Shell interface {
	Run(ctx context.Context, c remote.Command) error
}

// Facts is what a guest says of itself.
type Facts struct {
	HostName string            // /etc/hostname, else the kernel's
	BootID   string            // kernel.random.boot_id: another one after each boot
	Root     bool              // the login, or sudo, is root
	Current  microvm.StorePath // /run/current-system
	Booted   microvm.StorePath // /run/booted-system
	HasStore bool              // the path that was asked for is in its /nix/store
	Systemd  bool              // it has systemd-run
	// Switching is the deployment whose switch is still under way, see Follow;
	// empty where there is none.
	Switching string
	// Armed is the deployment whose switch is neither confirmed nor undone yet:
	// without a confirmation the guest takes it back by itself, see FollowUndo.
	// Empty where there is none.
	Armed       string
	FailedUnits []string
}

// Look asks the guest what it is. probe is a path of the host's store that
// nothing inside the guest refers to (a runner): if the guest sees it, it shares
// that store. Empty leaves HasStore false.
func Look(ctx context.Context, sh Shell, probe microvm.StorePath) (Facts, error) {
	said := map[string]string{}
	_, err := run(ctx, sh, call{script: lookScript, name: "look", args: []string{string(probe)}, said: said, silence: lookSilence})
	if err != nil {
		return Facts{}, err
	}
	if said["boot"] == "" {
		return Facts{}, fmt.Errorf("the guest's answer is incomplete: it must have a POSIX shell and /proc")
	}
	f := Facts{
		HostName: said["hostname"], BootID: word(said["boot"]), Root: said["uid"] == "0",
		HasStore: said["store"] == "yes", Systemd: said["systemd"] == "yes",
		Switching: idOf(said["switching"]), Armed: idOf(said["armed"]), FailedUnits: unitsOf(said["failed"]),
	}
	// Links that lead elsewhere than into the store leave the fields empty.
	f.Current, _ = microvm.ParseStorePath(said["current"])
	f.Booted, _ = microvm.ParseStorePath(said["booted"])
	return f, nil
}
