package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// goBinds shares this machine's Go with the operator's, where Nix builds ferry with it
// (nix/standin/nixpkgs/go.nix): the toolchain, the modules that it has downloaded,
// as a proxy has them, both read-only, and a cache of what it has compiled.
func (l *Lab) goBinds(ctx context.Context) ([]string, error) {
	out, err := run(ctx, "go", "env", "GOROOT", "GOMODCACHE")
	if err != nil {
		return nil, fmt.Errorf("finding Go, which the operator's machine shares: %w", err)
	}
	root, modules, ok := strings.Cut(strings.TrimSpace(out), "\n")
	if !ok {
		return nil, fmt.Errorf("finding Go: `go env` said %q", out)
	}
	modules = filepath.Join(modules, "cache", "download")
	build := filepath.Join(l.cache, "go-build")
	for _, dir := range []string{modules, build} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return []string{
		"--bind-ro=" + bindable(root) + ":/usr/local/go",
		"--bind-ro=" + bindable(modules) + ":/srv/go/modules",
		"--bind=" + bindable(build) + ":/srv/go/build",
	}, nil
}

// bindable is a path as systemd-nspawn's options take it.
func bindable(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(path)
}
