package remote

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// local runs commands on this machine, with no shell in between.
type local struct{}

func (local) prepare(args []string) (*child, error) {
	// A process group of its own: Ctrl-C reaches ferry, which then decides.
	return &child{argv: args, attr: &syscall.SysProcAttr{Setpgid: true}, stop: stopGroup}, nil
}

// stopGroup asks a child and what it started to stop. What runs through sudo
// belongs to root: there sudo itself has to ask.
func stopGroup(p *os.Process) error {
	err := syscall.Kill(-p.Pid, syscall.SIGTERM)
	switch {
	case errors.Is(err, syscall.EPERM):
		return exec.Command("sudo", "-n", "--", "kill", "-s", "TERM", "--", strconv.Itoa(-p.Pid)).Run()
	case errors.Is(err, syscall.ESRCH):
		return os.ErrProcessDone
	}
	return err
}

func (local) lost(context.Context, *child, int) error { return nil }
func (local) nix() (string, []string)                 { return "", nil }
func (local) close() error                            { return nil }
