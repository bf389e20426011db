package nix

import (
	"context"
	"encoding/json"
	"fmt"

	"ferry/internal/microvm"
)

// EvalRequest is one evaluation. Options are put before the installable and are
// trusted: the caller has checked them.
type EvalRequest struct {
	Installable string // FLAKEREF#ATTRPATH
	Apply       string // a Nix function, applied to the installable's value
	Options     []string
}

// EvalFailure is an evaluation, or the fetching of a flake for it, that failed.
// Stderr is all that Nix said, bounded; Unwrap gives the *CommandError.
type EvalFailure struct {
	Stderr []string
	Err    error
}

func (e *EvalFailure) Error() string { return e.Err.Error() }

// Unwrap gives the *CommandError.
func (e *EvalFailure) Unwrap() error { return e.Err }

// Eval returns the value as JSON. It writes the .drv files of every drvPath that
// the value contains, and builds nothing. A failure is an *EvalFailure.
func (n *Nix) Eval(ctx context.Context, r EvalRequest) ([]byte, error) {
	args := append(nixArgs("eval", "--json"), r.Options...)
	if r.Apply != "" {
		args = append(args, "--apply", r.Apply)
	}
	return n.evaluate(ctx, append(args, "--", r.Installable))
}

// evaluate runs a command that may fetch flakes, and so may have to ask.
func (n *Nix) evaluate(ctx context.Context, args []string) ([]byte, error) {
	out, stderr, err := n.run(ctx, command{program: "nix", args: args, mayAsk: true})
	if _, failed := err.(*CommandError); failed {
		return nil, &EvalFailure{Stderr: stderr, Err: err}
	}
	return out, err
}

// Metadata is what `nix flake metadata` says of a flake.
type Metadata struct {
	URL         string          `json:"url"`         // locked, as a URL
	ResolvedURL string          `json:"resolvedUrl"` // as the registry resolves it
	Path        string          `json:"path"`        // of the source, in the store
	Locked      json.RawMessage `json:"locked"`      // attributes, with narHash and rev or dirtyRev
	Locks       Locks           `json:"locks"`
}

// Locks is the lock file that an evaluation would use, overrides included.
type Locks struct {
	Root  string              `json:"root"`
	Nodes map[string]LockNode `json:"nodes"`
}

// LockNode is one input. Only the root has no Locked.
type LockNode struct {
	Locked json.RawMessage `json:"locked,omitempty"`
	Inputs json.RawMessage `json:"inputs,omitempty"`
	// Parent is set for an input that is a relative path: its content is part of
	// the flake it belongs to.
	Parent json.RawMessage `json:"parent,omitempty"`
	Flake  *bool           `json:"flake,omitempty"`
}

// LockedAttrs are the attributes of a locked flake reference that ferry reads.
type LockedAttrs struct {
	Type     string `json:"type"`
	NarHash  string `json:"narHash"`
	Rev      string `json:"rev"`
	DirtyRev string `json:"dirtyRev"`
}

// LockedAttrs decodes m.Locked.
func (m *Metadata) LockedAttrs() (LockedAttrs, error) {
	var a LockedAttrs
	if err := json.Unmarshal(m.Locked, &a); err != nil {
		return a, fmt.Errorf("read the locked flake reference: %w", err)
	}
	return a, nil
}

// Revision is the commit of the flake, `COMMIT-dirty` for a changed work tree,
// or empty when the flake is under no version control.
func (m *Metadata) Revision() string {
	a, err := m.LockedAttrs()
	if err != nil {
		return ""
	}
	if a.Rev != "" {
		return a.Rev
	}
	return a.DirtyRev
}

// FlakeMetadata resolves, fetches and locks the flake at ref, as an evaluation
// with the same options would. A failure of Nix is an *EvalFailure.
func (n *Nix) FlakeMetadata(ctx context.Context, ref string, options []string) (Metadata, error) {
	args := append(nixArgs("flake", "metadata", "--json"), options...)
	out, err := n.evaluate(ctx, append(args, "--", ref))
	if err != nil {
		return Metadata{}, err
	}
	var m Metadata
	if err := json.Unmarshal(out, &m); err != nil {
		return Metadata{}, fmt.Errorf("read the output of nix flake metadata: %w", err)
	}
	return m, nil
}

// Settings are Nix's settings as they are in force here, from its files and from
// the environment, by name.
func (n *Nix) Settings(ctx context.Context) (map[string]json.RawMessage, error) {
	out, _, err := n.run(ctx, command{program: "nix", args: nixArgs("config", "show", "--json")})
	if err != nil {
		return nil, err
	}
	var settings map[string]struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(out, &settings); err != nil {
		return nil, fmt.Errorf("read the output of nix config show: %w", err)
	}
	values := make(map[string]json.RawMessage, len(settings))
	for name, s := range settings {
		values[name] = s.Value
	}
	return values, nil
}

func pathArgs(paths []microvm.StorePath) []string {
	args := make([]string, len(paths))
	for i, p := range paths {
		args[i] = string(p)
	}
	return args
}
