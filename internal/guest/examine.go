package guest

import (
	"context"
	_ "embed" // the script
	"errors"
	"strconv"
	"time"

	"ferry/internal/microvm"
)

//go:embed examine.sh
var examineScript string

// Examined is what a live switch would meet in a guest. It needs no root.
type Examined struct {
	HostName string
	BootID   string
	Now      time.Time         // its clock; zero: not known
	Up       time.Duration     // since its boot; 0: not known
	Current  microvm.StorePath // empty: it runs something outside the store
	HasStore bool              // the path that was asked for is in its /nix/store
	Systemd  bool              // it has systemd-run
	NixStore bool              // and nix-store
	Switch   bool              // the system that runs can be switched
	// Armed is the deployment whose switch is neither confirmed nor undone yet, as
	// far as the login may see.
	Armed       string
	FailedUnits []string
}

// Examine looks at a guest and changes nothing. probe is as in Look.
func Examine(ctx context.Context, sh Shell, probe microvm.StorePath) (Examined, error) {
	said := map[string]string{}
	_, err := run(ctx, asLogin{sh}, call{script: examineScript, name: "examine", args: []string{string(probe)}, said: said, silence: lookSilence})
	if err != nil {
		return Examined{}, err
	}
	if said["boot"] == "" {
		return Examined{}, errors.New("the guest's answer is incomplete: it must have a POSIX shell and /proc")
	}
	e := Examined{
		HostName: word(said["hostname"]), BootID: word(said["boot"]), HasStore: said["store"] == "yes",
		Systemd: said["systemd"] == "yes", NixStore: said["nixstore"] == "yes", Switch: said["switch"] == "yes",
		Armed: idOf(said["armed"]), FailedUnits: unitsOf(said["failed"]),
	}
	e.Current, _ = microvm.ParseStorePath(said["current"])
	if s, err := strconv.ParseInt(said["now"], 10, 64); err == nil && s > 0 {
		e.Now = time.Unix(s, 0)
	}
	if s, err := strconv.ParseInt(said["up"], 10, 32); err == nil && s > 0 {
		e.Up = time.Duration(s) * time.Second
	}
	return e, nil
}
