package nix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"ferry/internal/microvm"
)

// Build builds the output `out` of every derivation, or substitutes it, and
// returns the outputs in the order of drvs. With link, the first output is
// rooted by a symbolic link of that name, which Nix makes itself: a collector
// that is running already learns of it, which it would not of a link that
// somebody else made. Builders' output goes to Log, each line after the name of
// its derivation. A build that failed is a *BuildError.
func (n *Nix) Build(ctx context.Context, link string, drvs ...microvm.StorePath) ([]microvm.StorePath, error) {
	return n.BuildIn(ctx, BuildRequest{Link: link, Derivations: drvs})
}

// BuildRequest is one build.
type BuildRequest struct {
	Derivations []microvm.StorePath
	Link        string // see Build; not with Store
	// Store is the URL of another store that builds and keeps what is built; the
	// derivations come from this machine's. Env is for it, such as NIX_SSHOPTS.
	Store string
	Env   []string
	// Options are put before the derivations and are trusted, as in EvalRequest.
	Options []string
}

// BuildIn is Build with everything that can be said of it.
func (n *Nix) BuildIn(ctx context.Context, r BuildRequest) ([]microvm.StorePath, error) {
	drvs := r.Derivations
	if len(drvs) == 0 {
		return nil, nil
	}
	args := append(nixArgs("build", "--print-build-logs", "--json"), r.Options...)
	if r.Store != "" {
		args = append(args, "--store", r.Store, "--eval-store", "auto")
	}
	if r.Link == "" {
		args = append(args, "--no-link")
	} else {
		args = append(args, "--out-link", r.Link)
	}
	for _, d := range drvs {
		args = append(args, string(d)+"^out")
	}
	var report buildReport
	out, _, err := n.run(ctx, command{program: "nix", args: args, env: r.Env, line: report.line})
	if err != nil {
		var failed *CommandError
		if errors.As(err, &failed) {
			if b := report.result(); b != nil {
				b.Err = failed
				return nil, b
			}
		}
		return nil, err
	}
	return builtOutputs(out, drvs)
}

// builtOutputs reads `nix build --json`. It names derivations and outputs, which
// --print-out-paths does not, and Nix may order and merge them as it likes. What is
// not understood in it is passed over, as long as all of drvs are there.
func builtOutputs(out []byte, drvs []microvm.StorePath) ([]microvm.StorePath, error) {
	var built []json.RawMessage
	if err := json.Unmarshal(out, &built); err != nil {
		return nil, fmt.Errorf("read the output of nix build: %w", err)
	}
	byDrv := map[microvm.StorePath]microvm.StorePath{}
	for _, entry := range built {
		var b struct {
			DrvPath json.RawMessage            `json:"drvPath"`
			Outputs map[string]json.RawMessage `json:"outputs"`
		}
		if json.Unmarshal(entry, &b) != nil {
			continue
		}
		drv, known := storePath(b.DrvPath)
		if path, ok := storePath(b.Outputs["out"]); known && ok {
			byDrv[drv] = path
		}
	}
	outs := make([]microvm.StorePath, len(drvs))
	for i, d := range drvs {
		if outs[i] = byDrv[d]; outs[i] == "" {
			return nil, fmt.Errorf("nix build did not say what it built from %s", d)
		}
	}
	return outs, nil
}

// storePath reads a path. Since 2.33 Nix leaves the store's directory out in some of
// its JSON.
func storePath(value json.RawMessage) (microvm.StorePath, bool) {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return "", false
	}
	if !strings.Contains(text, "/") {
		text = microvm.StoreDir + "/" + text
	}
	p, err := microvm.ParseStorePath(text)
	return p, err == nil
}
