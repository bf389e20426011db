package completion

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	// RenewName is the command that evaluates a flake in the background.
	RenewName = "__renew-completion"
	// evaluationLimit is how long that may take.
	evaluationLimit = 30 * time.Second
)

// Evaluate yields the names in a flake, as flake.DecodeOutline reads them.
type Evaluate func(ctx context.Context, ref string) ([]byte, error)

// InBackground starts this program to renew the names of a flake, in a session of
// its own: neither a Ctrl-C at the prompt nor the end of the shell reaches it, and
// nothing in it can ask on the terminal. It is an Offers' Start.
func InBackground(ref string) (<-chan struct{}, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, RenewName, "--", ref)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return ended, nil
}

// RenewCommand is what InBackground starts; dir is the Offers' Dir.
func RenewCommand(dir string, evaluate Evaluate) *cobra.Command {
	return &cobra.Command{
		Use: RenewName + " FLAKE", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Evaluate a flake's names for completion",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), evaluationLimit)
			defer cancel()
			err := Renew(ctx, dir, args[0], evaluate)
			if ctx.Err() != nil {
				endSession()
			}
			return err
		},
	}
}

// endSession kills what hangs in the session that InBackground made, such as what a
// Nix has started that was told to end.
func endSession() {
	if syscall.Getpgrp() == os.Getpid() {
		_ = syscall.Kill(0, syscall.SIGKILL)
	}
}
