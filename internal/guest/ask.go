package guest

import (
	"context"
	_ "embed" // the script
	"errors"

	"ferry/internal/microvm"
	"ferry/internal/remote"
)

//go:embed ask.sh
var askScript string

// Identity is what a guest says of itself to anybody who can log in.
type Identity struct {
	HostName string
	BootID   string
	Current  microvm.StorePath // empty: it runs something outside the store
	HasStore bool              // the path that was asked for is in its /nix/store
}

// Ask asks the guest who it is. It takes no root, so nobody is asked for a
// password. probe is as in Look.
func Ask(ctx context.Context, sh Shell, probe microvm.StorePath) (Identity, error) {
	said := map[string]string{}
	_, err := run(ctx, asLogin{sh}, call{script: askScript, name: "ask", args: []string{string(probe)}, said: said, silence: lookSilence})
	if err != nil {
		return Identity{}, err
	}
	if said["boot"] == "" {
		return Identity{}, errors.New("the guest's answer is incomplete: it must have a POSIX shell and /proc")
	}
	who := Identity{HostName: said["hostname"], BootID: said["boot"], HasStore: said["store"] == "yes"}
	who.Current, _ = microvm.ParseStorePath(said["current"])
	return who, nil
}

// asLogin runs commands as whoever has logged in.
type asLogin struct{ Shell }

func (a asLogin) Run(ctx context.Context, c remote.Command) error {
	c.AsRoot = false
	return a.Shell.Run(ctx, c)
}

// Address is for messages.
func (a asLogin) Address() microvm.Address { return addressOf(a.Shell) }
