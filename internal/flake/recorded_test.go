//go:build !lab

package flake

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/nix"
	"ferry/internal/trouble"
)

// What the recorded versions of Nix say of an evaluation that fails becomes the same
// message, position and advice, though they say it differently. (The recordings are
// not where tests with the tag `lab` run:
// internal/nix/recorded_test.go.)
func TestRecordedEvaluationErrors(t *testing.T) {
	dirs, err := filepath.Glob("../nix/testdata/nix-*")
	if err != nil || len(dirs) < 2 {
		t.Fatalf("%q, %v", dirs, err)
	}
	for _, dir := range dirs {
		var m nix.Metadata
		if err := json.Unmarshal([]byte(strings.Join(lastCall(t, dir, "metadata").Stdout, "\n")), &m); err != nil {
			t.Fatal(err)
		}
		for question, want := range map[string]struct {
			message, position string
			about             trouble.Section
		}{
			"eval-undefined":       {"undefined variable 'pkg'", "broken.nix:1:1", trouble.EvaluationFailed},
			"eval-untracked":       {"missing.nix", "flake.nix:24:19", trouble.UntrackedFile},
			"eval-flake-untracked": {"flake.nix", "", trouble.UntrackedFile},
			"eval-no-flake":        {"could not find a flake.nix file", "", trouble.FlakeNotFound},
		} {
			e := newEvalError(".", sourceRoots(&m), &nix.EvalFailure{Stderr: lastCall(t, dir, question).Stderr, Err: errors.New("exit status 1")})
			if !strings.Contains(e.Message, want.message) || e.Position != want.position || e.Section() != want.about || e.Hint() == "" {
				t.Errorf("%s, %s: %q at %q, section %s, hint %q", dir, question, e.Message, e.Position, e.Section(), e.Hint())
			}
		}
	}
}

type recordedCall struct{ Stdout, Stderr []string }

func lastCall(t *testing.T, dir, question string) recordedCall {
	t.Helper()
	var calls []recordedCall
	data, err := os.ReadFile(filepath.Join(dir, question+".json"))
	if err == nil {
		err = json.Unmarshal(data, &calls)
	}
	if err != nil || len(calls) == 0 {
		t.Fatalf("%s in %s: %v", question, dir, err)
	}
	return calls[len(calls)-1]
}

// Newer versions of Nix name a flake from elsewhere by its reference.
func TestPositionsInTheFlakeAreRelative(t *testing.T) {
	const url = "github:example/infra/96ae5dc3792bae9aa72029547d1704ed8e7feae5"
	m := &nix.Metadata{URL: url, ResolvedURL: "github:example/infra", Path: source}
	stderr := "error:\n       … while x\n         at «" + url + "»/vms/web.nix:3:5:\n            3| x\n\n       … while y\n         at «github:NixOS/nixpkgs/0000»/lib/a.nix:1:2:\n            1| y\n\n       error: deep"
	if e := newEvalError(".", sourceRoots(m), failure(stderr)); e.Position != "vms/web.nix:3:5" {
		t.Errorf("%q", e.Position)
	}
	if roots := sourceRoots(&nix.Metadata{}); len(roots) != 0 {
		t.Errorf("%q", roots)
	}
}
