package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"ferry/internal/completion"
	"ferry/internal/flake"
	"ferry/internal/nix"
)

// renew is the command that evaluates a flake for completion, in the background.
const renew = "__renew-completion"

func offers() *completion.Offers {
	return &completion.Offers{Dir: completionDir(), Start: startRenewal}
}

// completionDir is empty where there is no home.
func completionDir() string {
	dir := flake.DefaultCacheDir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "completion")
}

// startRenewal starts this program in a session of its own: neither a Ctrl-C at the
// prompt nor the end of the shell reaches it, and nothing in it can ask on the
// terminal.
func startRenewal(ref string) (<-chan struct{}, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, renew, "--", ref)
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

func (a *app) renewCommand() *cobra.Command {
	return &cobra.Command{
		Use: renew + " FLAKE", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Evaluate a flake's names for completion",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), completion.EvaluationLimit)
			defer cancel()
			e := &flake.Evaluator{Nix: &nix.Nix{Program: "nix"}}
			err := completion.Renew(ctx, completionDir(), args[0], e.Outline)
			if ctx.Err() != nil {
				endSession()
			}
			return err
		},
	}
}

// endSession kills what hangs in the session that startRenewal made, such as a
// program that a Nix started which was told to end.
func endSession() {
	if syscall.Getpgrp() == os.Getpid() {
		_ = syscall.Kill(0, syscall.SIGKILL)
	}
}

// rememberedDeployments are those that this machine could attach to.
func rememberedDeployments() []cobra.Completion {
	store := memory()
	var found []cobra.Completion
	for _, id := range store.Names() {
		var note struct{ Attribute, Host string }
		if ok, err := store.Recall(id, &note); ok && err == nil && deploymentID.MatchString(id) {
			found = append(found, completion.Word(id, note.Attribute+" on "+note.Host))
		}
	}
	return found
}
