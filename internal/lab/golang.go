package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// goBinds shares this machine's Go with the operator's, where Nix builds ferry with it
// (nix/standin/nixpkgs/go.nix): the toolchain and the modules that it has downloaded,
// as a proxy has them, both read-only, and the cache of what it has compiled.
func goBinds(ctx context.Context) ([]string, error) {
	out, err := run(ctx, "go", "env", "GOROOT", "GOMODCACHE", "GOCACHE")
	if err != nil {
		return nil, fmt.Errorf("finding Go, which the operator's machine shares: %w", err)
	}
	dirs := strings.Split(strings.TrimSpace(out), "\n")
	if len(dirs) != 3 {
		return nil, fmt.Errorf("finding Go: `go env` said %q", out)
	}
	dirs[1] = filepath.Join(dirs[1], "cache", "download")
	binds := []string{
		"--bind-ro=" + bindable(dirs[0]) + ":/usr/local/go",
		"--bind-ro=" + bindable(dirs[1]) + ":/srv/go/modules",
		"--bind=" + bindable(dirs[2]) + ":/srv/go/build",
	}
	for _, dir := range dirs[1:] {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return binds, nil
}

// bindable is a path as systemd-nspawn's options take it.
func bindable(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(path)
}
