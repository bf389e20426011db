package nix

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"ferry/internal/microvm"
)

// ArchiveTree is a flake's source in the store, with those of its inputs by
// name. An input that follows another one is not in it; one that is a part of
// its parent has no path.
type ArchiveTree struct {
	Path   microvm.StorePath      `json:"path"`
	Inputs map[string]ArchiveTree `json:"inputs"`
}

// FlakeArchive fetches the flake at ref and all its inputs into this machine's
// store. A failure of Nix is an *EvalFailure.
func (n *Nix) FlakeArchive(ctx context.Context, ref string, options []string) (ArchiveTree, error) {
	args := append(nixArgs("flake", "archive", "--json"), options...)
	out, _, err := n.evaluate(ctx, append(args, "--", ref))
	if err != nil {
		return ArchiveTree{}, err
	}
	var tree ArchiveTree
	if err := json.Unmarshal(out, &tree); err != nil {
		return ArchiveTree{}, fmt.Errorf("read the output of nix flake archive: %w", err)
	}
	for _, p := range append(tree.Paths(), tree.Path) {
		if _, err := microvm.ParseStorePath(string(p)); err != nil {
			return ArchiveTree{}, fmt.Errorf("read the output of nix flake archive: %w", err)
		}
	}
	return tree, nil
}

// Paths are all paths of the tree, each once, sorted.
func (t ArchiveTree) Paths() []microvm.StorePath {
	seen := map[microvm.StorePath]bool{}
	t.collect(seen)
	return slices.Sorted(maps.Keys(seen))
}

func (t ArchiveTree) collect(seen map[microvm.StorePath]bool) {
	if t.Path != "" {
		seen[t.Path] = true
	}
	for _, in := range t.Inputs {
		in.collect(seen)
	}
}

// At is the source of the input at a path of names; false where there is none.
func (t ArchiveTree) At(names []string) (microvm.StorePath, bool) {
	for _, name := range names {
		next, ok := t.Inputs[name]
		if !ok {
			return "", false
		}
		t = next
	}
	return t.Path, t.Path != ""
}
