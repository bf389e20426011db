package lab

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// flakeTrees are the operator's /root/infra (a user's flake), /root/microvm.nix
// (the library it uses) and /root/site (an input that is no flake).
//
//go:embed flake
var flakeTrees embed.FS

// setUpFlake makes the operator's repositories, committed and locked. The tag
// `lab` marks the pristine state of /root/infra.
func (l *Lab) setUpFlake(ctx context.Context) error {
	op := l.machines[0]
	done := op.Path(flakeLock)
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	begin := time.Now()
	for tree, dst := range map[string]string{"infra": "/root/infra", "microvm": "/root/microvm.nix", "site": "/root/site"} {
		if err := os.RemoveAll(op.Path(dst)); err != nil {
			return err
		}
		sub, err := fs.Sub(flakeTrees, "flake/"+tree)
		if err != nil {
			return err
		}
		if err := os.CopyFS(op.Path(dst), sub); err != nil {
			return fmt.Errorf("writing %s: %w", dst, err)
		}
	}
	// Fixed dates: the same content has the same revision in every lab.
	script := `set -eu
export GIT_AUTHOR_DATE=2026-01-01T00:00:00Z GIT_COMMITTER_DATE=2026-01-01T00:00:00Z
cd /root/microvm.nix
git init -q && git add -A && git commit -qm "Stand in for microvm.nix"
cd /root/infra
git init -q && git add -A
nix flake lock 2>/dev/null || nix flake lock
git add -A && git commit -qm "Virtual machines" && git tag lab`
	var out bytes.Buffer
	if err := op.Run(ctx, Cmd{Args: []string{"sh", "-c", script}, Stdout: &out}); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(out.String()))
	}
	l.logf("flake set up in %s", time.Since(begin).Round(time.Millisecond))
	lock, err := os.ReadFile(op.Path("/root/infra/flake.lock"))
	if err != nil {
		return err
	}
	return os.WriteFile(done, lock, 0o644)
}

// flakeLock is the lock file of the pristine inputs, the same for all flakes of the
// lab: none has to ask Nix for its own. It is written last.
const flakeLock = "/root/.lab-flake.lock"

// ResetFlake puts the operator's /root/infra and /root/site back as Up made
// them, also where a test has committed to it.
func (l *Lab) ResetFlake(ctx context.Context) error {
	op := l.machines[0]
	if err := op.Run(ctx, Cmd{Args: []string{"sh", "-c", "git reset -q --hard lab && git clean -qfdx"}, Dir: "/root/infra"}); err != nil {
		return err
	}
	site, err := fs.ReadFile(flakeTrees, "flake/site/footer.html")
	if err != nil {
		return err
	}
	return os.WriteFile(op.Path("/root/site/footer.html"), site, 0o644)
}

// EditFlake replaces old by new in a file of the operator's /root/infra, such as
// `vms/web.nix`; old must be there. The change is left uncommitted, as a user's.
func (l *Lab) EditFlake(file, old, new string) error {
	path := l.machines[0].Path(filepath.Join("/root/infra", file))
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(old)) {
		return fmt.Errorf("%s does not contain %q", file, old)
	}
	return os.WriteFile(path, bytes.ReplaceAll(b, []byte(old), []byte(new)), 0o644)
}
