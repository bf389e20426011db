package nix

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"ferry/internal/microvm"
)

// PathsRequest is one copy of outputs or sources, with all they refer to.
type PathsRequest struct {
	From, To string   // store URLs; empty: this machine's store
	Env      []string // KEY=value, such as NIX_SSHOPTS, for both
	Paths    []microvm.StorePath
	// Substitute lets the destination fetch what it can from its own caches,
	// with its own keys, before the rest is sent.
	Substitute bool
}

// CopyPaths copies the runtime closure of the paths. What is sent is not signed,
// so `--no-check-sigs` is needed even for root; it says nothing of what the
// destination substitutes, which checks signatures as it is set up to
// (ssh-ng hands none of our settings over).
func (n *Nix) CopyPaths(ctx context.Context, r PathsRequest) error {
	args := nixArgs("copy", "--no-check-sigs")
	if r.From != "" {
		args = append(args, "--from", r.From)
	}
	if r.To != "" {
		args = append(args, "--to", r.To)
	}
	if r.Substitute {
		args = append(args, "--substitute-on-destination")
	}
	for part := range slices.Chunk(r.Paths, chunk) {
		_, _, err := n.run(ctx, command{program: "nix", args: append(slices.Clone(args), pathArgs(part)...), env: r.Env})
		if err != nil {
			return err
		}
	}
	return nil
}

// Substitute fetches what can be had of the paths from this machine's caches.
// That some can't is no error.
func (n *Nix) Substitute(ctx context.Context, paths []microvm.StorePath) error {
	for part := range slices.Chunk(paths, chunk) {
		_, _, err := n.run(ctx, command{program: "nix-store", args: append([]string{"--realise", "--keep-going"}, pathArgs(part)...)})
		if ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// StoreInfo is what a store says of itself.
type StoreInfo struct {
	// Trusted: it takes unsigned paths and settings from us. A store that does
	// not say is believed to.
	Trusted bool
	URL     string // as Nix writes it, such as daemon or local
}

var unknownVerbPattern = regexp.MustCompile(`'info' is not a recogni[sz]ed command`)

// Store connects to a store (empty: this machine's) and asks how it takes us.
func (n *Nix) Store(ctx context.Context, url string, env []string) (StoreInfo, error) {
	ask := func(verb string) ([]byte, []string, error) {
		args := nixArgs("store", verb, "--json")
		if url != "" {
			args = append(args, "--store", url)
		}
		return n.run(ctx, command{program: "nix", args: args, env: env})
	}
	out, stderr, err := ask("info")
	if err != nil && slices.ContainsFunc(stderr, unknownVerbPattern.MatchString) {
		out, _, err = ask("ping") // as Lix has it, and Nix before 2.19
	}
	if err != nil {
		return StoreInfo{}, err
	}
	var said struct {
		Trusted json.RawMessage `json:"trusted"` // 2.26: 0, 1; 2.34: false, true
		URL     string          `json:"url"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return StoreInfo{}, fmt.Errorf("read the output of nix store info: %w", err)
	}
	not := string(said.Trusted)
	return StoreInfo{Trusted: not != "0" && not != "false", URL: said.URL}, nil
}
