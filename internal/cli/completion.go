package cli

import (
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/completion"
	"ferry/internal/flake"
	"ferry/internal/nix"
	"ferry/internal/ui"
)

// Command is ferry's command line with all its commands, for documents; it is not
// meant to be run.
func Command() *cobra.Command {
	a := &console.Console{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, UI: ui.New(io.Discard, io.Discard, true)}
	return rootCommand(a)
}

// addCompletion lets shells complete what root has.
func addCompletion(root *cobra.Command) {
	dir := flake.DefaultCacheDir()
	if dir != "" {
		dir = filepath.Join(dir, "completion")
	}
	e := &flake.Evaluator{Nix: &nix.Nix{Program: "nix"}}
	root.AddCommand(completion.ScriptCommand(), completion.RenewCommand(dir, e.Outline))
	completion.Attach(root, &completion.Offers{Dir: dir, Start: completion.InBackground}, rememberedDeployments)
}

// rememberedDeployments are those that this machine could attach to.
func rememberedDeployments() []cobra.Completion {
	store := console.Memory()
	var found []cobra.Completion
	for _, id := range store.Names() {
		var note struct{ Attribute, Host string }
		if ok, err := store.Recall(id, &note); ok && err == nil && deploymentID.MatchString(id) {
			found = append(found, completion.Word(id, note.Attribute+" on "+note.Host))
		}
	}
	return found
}
