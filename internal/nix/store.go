package nix

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ferry/internal/microvm"
)

// chunk bounds the store paths of one command line: 1,000 of at most 255 bytes
// stay far below the 2 MiB that Linux allows for arguments and environment.
const chunk = 1000

// CopyRequest is one copy of derivations, with all they refer to.
type CopyRequest struct {
	To          string   // a store URL, ssh-ng://…
	Env         []string // KEY=value, such as NIX_SSHOPTS
	Derivations []microvm.StorePath
}

// CopyDerivations copies the closure of the derivations in one nix copy, so in
// one session. `--no-check-sigs` is needed where a closure has an unsigned
// output among its sources; a destination that does not trust us ignores it.
func (n *Nix) CopyDerivations(ctx context.Context, r CopyRequest) error {
	if len(r.Derivations) == 0 {
		return nil
	}
	args := nixArgs("copy", "--derivation", "--no-check-sigs", "--to", r.To)
	_, _, err := n.run(ctx, command{
		program: "nix", args: append(args, pathArgs(r.Derivations)...), env: r.Env,
	})
	return err
}

// Export writes the paths to w in the form that Import reads. The paths must be
// closed under references and sorted as Requisites sorts them.
func (n *Nix) Export(ctx context.Context, w io.Writer, paths []microvm.StorePath) error {
	if len(paths) == 0 {
		return nil
	}
	_, _, err := n.run(ctx, command{
		program: "nix-store", args: append([]string{"--export"}, pathArgs(paths)...), stdout: w,
	})
	return err
}

// Import adds to the store what Export wrote. Paths that are not addressed by
// their content need a signature or a trusted user.
func (n *Nix) Import(ctx context.Context, r io.Reader) error {
	_, _, err := n.run(ctx, command{program: "nix-store", args: []string{"--import"}, stdin: r})
	return err
}

// Missing returns those of the paths that this machine's store lacks.
func (n *Nix) Missing(ctx context.Context, paths []microvm.StorePath) ([]microvm.StorePath, error) {
	return n.query(ctx, paths, "--check-validity", "--print-invalid")
}

// Valid reports whether this machine's store has p.
func (n *Nix) Valid(ctx context.Context, p microvm.StorePath) (bool, error) {
	missing, err := n.Missing(ctx, []microvm.StorePath{p})
	return err == nil && len(missing) == 0, err
}

// Requisites returns the closure of the paths, themselves included, each path
// after those it refers to. For a derivation that is its build recipe's closure.
func (n *Nix) Requisites(ctx context.Context, paths ...microvm.StorePath) ([]microvm.StorePath, error) {
	return n.query(ctx, paths, "--query", "--requisites")
}

func (n *Nix) query(ctx context.Context, paths []microvm.StorePath, args ...string) ([]microvm.StorePath, error) {
	var found []microvm.StorePath
	seen := map[microvm.StorePath]bool{}
	for part := range slices.Chunk(paths, chunk) {
		out, _, err := n.run(ctx, command{program: "nix-store", args: append(slices.Clone(args), pathArgs(part)...)})
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			p, err := microvm.ParseStorePath(strings.TrimSpace(line))
			if err != nil {
				return nil, fmt.Errorf("read the output of nix-store %s: %w", args[0], err)
			}
			if !seen[p] {
				seen[p] = true
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// DumpRegistration writes the database registration of p's runtime closure, for
// `nix-store --load-db` where the store is shared but the database is not. Only
// the runtime closure: an entry for a path that the reader cannot see would make
// it refuse everything.
func (n *Nix) DumpRegistration(ctx context.Context, w io.Writer, p microvm.StorePath) error {
	if p.IsDerivation() {
		return fmt.Errorf("%s is a derivation and has no runtime closure", p)
	}
	paths, err := n.Requisites(ctx, p)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(paths, chunk) {
		args := append([]string{"--dump-db"}, pathArgs(part)...)
		if _, _, err := n.run(ctx, command{program: "nix-store", args: args, stdout: w}); err != nil {
			return err
		}
	}
	return nil
}

// AddFile adds a file of that name to the store.
func (n *Nix) AddFile(ctx context.Context, name string, content []byte) (microvm.StorePath, error) {
	dir, err := os.MkdirTemp("", "ferry-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return "", err
	}
	out, _, err := n.run(ctx, command{program: "nix-store", args: []string{"--add", file}})
	if err != nil {
		return "", err
	}
	p, err := microvm.ParseStorePath(strings.TrimSpace(string(out)))
	if err != nil {
		return "", fmt.Errorf("read the output of nix-store --add: %w", err)
	}
	return p, nil
}

// AddRoot makes link a garbage collector root for p, which must be valid. Nix
// makes the link, so that a collector that is running already learns of it.
func (n *Nix) AddRoot(ctx context.Context, link string, p microvm.StorePath) error {
	_, _, err := n.run(ctx, command{program: "nix-store", args: []string{"--add-root", link, "--realise", string(p)}})
	return err
}

// AddRoots makes roots for several paths, which must be valid, in one process: link
// for the first, and link with `-2`, `-3` and so on behind it for the others, as
// nix-store names them.
func (n *Nix) AddRoots(ctx context.Context, link string, paths []microvm.StorePath) error {
	args := append([]string{"--add-root", link, "--realise"}, pathArgs(paths)...)
	_, _, err := n.run(ctx, command{program: "nix-store", args: args})
	return err
}

// SetProfile makes p the newest generation of the profile, a path such as
// /nix/var/nix/profiles/ferry/NAME/runner; its directory must exist. Nothing is
// added when p is its newest generation already.
func (n *Nix) SetProfile(ctx context.Context, profile string, p microvm.StorePath) error {
	_, _, err := n.run(ctx, command{program: "nix-env", args: []string{"--profile", profile, "--set", string(p)}})
	return err
}

// SwitchGeneration makes an existing generation of the profile the one that
// counts. Later ones stay, with their numbers.
func (n *Nix) SwitchGeneration(ctx context.Context, profile string, generation int) error {
	args := []string{"--profile", profile, "--switch-generation", strconv.Itoa(generation)}
	_, _, err := n.run(ctx, command{program: "nix-env", args: args})
	return err
}

// DiffClosures says which packages differ between two closures, a line each
// (`NAME: VERSION → VERSION, +SIZE`). It is empty when only configuration
// changed: files without a version do not count.
func (n *Nix) DiffClosures(ctx context.Context, a, b microvm.StorePath) ([]string, error) {
	out, _, err := n.run(ctx, command{program: "nix", args: nixArgs("store", "diff-closures", string(a), string(b))})
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(plain(strings.ToValidUTF8(line, "�"))); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}
