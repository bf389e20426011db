package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"ferry/internal/microvm"
)

// Foreground is an ssh of the user's own, with their terminal, in the place of
// ferry: nothing of it is shared, captured or quoted.
type Foreground struct {
	Address microvm.Address  // Local: Command runs here
	Through *microvm.Address // a jump host; nil: straight to the machine
	// Options are ssh's own, given before the destination.
	Options []string
	// Command goes to the login shell there as ssh joins it; empty: a login.
	Command        []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run returns the exit code of ssh, which is the command's, or 255 where ssh
// itself failed and has said why.
func (f Foreground) Run(ctx context.Context) (int, error) {
	if f.Address.Local {
		return f.run(ctx, exec.CommandContext(ctx, "sh", "-c", strings.Join(f.Command, " ")))
	}
	s := &ssh{addr: f.Address, words: strings.Fields(os.Getenv("NIX_SSHOPTS"))}
	own := append([]string{}, f.Options...)
	if f.Through != nil && !f.Through.Local {
		own = append(own, "-J", jumpHost(*f.Through))
	}
	return f.run(ctx, exec.CommandContext(ctx, "ssh", append(s.args(own...), f.Command...)...))
}

func (f Foreground) run(ctx context.Context, cmd *exec.Cmd) (int, error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f.Stdin, f.Stdout, f.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, Interrupted(ctx, "")
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	case err != nil:
		return 0, fmt.Errorf("running %s: %w", cmd.Args[0], err)
	}
	return 0, nil
}

// jumpHost is how -J names a machine: as a URL where there is a port or the
// address has colons of its own.
func jumpHost(a microvm.Address) string {
	if a.Port == 0 && !strings.Contains(a.Host, ":") {
		return a.Destination()
	}
	user := ""
	if a.User != "" {
		user = a.User + "@"
	}
	name := a.Host
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if a.Port == 0 {
		return "ssh://" + user + name
	}
	return fmt.Sprintf("ssh://%s%s:%d", user, name, a.Port)
}
