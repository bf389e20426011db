package nix

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"ferry/internal/microvm"
)

// EvalRequest is one evaluation. Options are put before the installable and are
// trusted: the caller has checked them.
type EvalRequest struct {
	Installable string // FLAKEREF#ATTRPATH
	File        string // a Nix file, the whole value of which is taken instead
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

// Eval returns the value as JSON. It asks for the whole trace of an error: without
// it, Nix leaves out the innermost positions, the ones that say where. It writes the .drv files of every drvPath that
// the value contains, and builds nothing. A failure is an *EvalFailure.
func (n *Nix) Eval(ctx context.Context, r EvalRequest) ([]byte, error) {
	args := append(nixArgs("eval", "--json", "--show-trace"), r.Options...)
	if r.Apply != "" {
		args = append(args, "--apply", r.Apply)
	}
	if r.File != "" {
		args = append(args, "--file", r.File)
	} else {
		args = append(args, "--", r.Installable)
	}
	out, _, err := n.evaluate(ctx, args)
	return out, err
}

// evaluate runs a command that may fetch flakes, and so may have to ask.
func (n *Nix) evaluate(ctx context.Context, args []string) (out []byte, stderr []string, err error) {
	out, stderr, err = n.run(ctx, command{program: "nix", args: args, mayAsk: true})
	var failed *CommandError
	if errors.As(err, &failed) {
		return nil, stderr, &EvalFailure{Stderr: stderr, Err: err}
	}
	return out, stderr, err
}

// Metadata is what `nix flake metadata` says of a flake.
type Metadata struct {
	URL         string          `json:"url"`         // locked, as a URL
	ResolvedURL string          `json:"resolvedUrl"` // as the registry resolves it
	Path        string          `json:"path"`        // of the source, in the store
	Locked      json.RawMessage `json:"locked"`      // attributes, with narHash and rev or dirtyRev
	Locks       json.RawMessage `json:"locks"`       // the lock file in force, overrides included
}

// lockedAttrs are the attributes of a locked reference that matter here.
type lockedAttrs struct {
	NarHash  string `json:"narHash"`
	Rev      string `json:"rev"`
	DirtyRev string `json:"dirtyRev"`
}

// Revision is the commit of the flake, `COMMIT-dirty` for a changed work tree,
// or empty when the flake is under no version control.
func (m *Metadata) Revision() string {
	var a lockedAttrs
	if json.Unmarshal(m.Locked, &a) != nil {
		return ""
	}
	return cmp.Or(a.Rev, a.DirtyRev)
}

// Pinned reports whether Locked and Locks name the whole content of the flake
// and of all its inputs: only then do equal ones mean equal results.
func (m *Metadata) Pinned() bool {
	var root lockedAttrs
	if json.Unmarshal(m.Locked, &root) != nil || root.NarHash == "" {
		return false
	}
	var locks struct {
		Root  string
		Nodes map[string]struct {
			Locked *lockedAttrs
			// Set for an input that is a relative path: a part of the flake it
			// belongs to, and so without a hash of its own.
			Parent *[]string
		}
	}
	if json.Unmarshal(m.Locks, &locks) != nil || len(locks.Nodes) == 0 {
		return false
	}
	for name, node := range locks.Nodes {
		hashed := node.Locked != nil && node.Locked.NarHash != ""
		if name != locks.Root && !hashed && node.Parent == nil {
			return false
		}
	}
	return true
}

// `warning: creating lock file "…"`; `updating` for one that lacked an input.
var lockWrittenPattern = regexp.MustCompile(`\b(creating|updating) lock file\b`)

// FlakeMetadata resolves, fetches and locks the flake at ref, as an evaluation
// with the same options would. A failure of Nix is an *EvalFailure.
func (n *Nix) FlakeMetadata(ctx context.Context, ref string, options []string) (Metadata, error) {
	args := append(nixArgs("flake", "metadata", "--json"), options...)
	args = append(args, "--", ref)
	out, stderr, err := n.evaluate(ctx, args)
	if err == nil && slices.ContainsFunc(stderr, lockWrittenPattern.MatchString) {
		// It named the tree without the lock file that it then wrote (2.34 does so,
		// 2.26 with git trees): from the next call on this is another flake.
		out, _, err = n.evaluate(ctx, args)
	}
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
	var settings map[string]json.RawMessage
	if err := json.Unmarshal(out, &settings); err != nil {
		return nil, fmt.Errorf("read the output of nix config show: %w", err)
	}
	values := make(map[string]json.RawMessage, len(settings))
	for name, said := range settings {
		var s struct {
			Value json.RawMessage `json:"value"`
		}
		if json.Unmarshal(said, &s) != nil || s.Value == nil {
			s.Value = said // not as we know settings: all of it counts
		}
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
