package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// OldNixDir is where OldNix puts Debian 12's Nix 2.8.
const OldNixDir = "/opt/nix-2.8"

// oldNixPrograms start Debian 12's programs with its own loader and libraries:
// they need newer or older ones than the machine has.
var oldNixPrograms = [...]string{"nix", "nix-store", "nix-env", "nix-daemon", "nix-instantiate", "nix-build", "nix-collect-garbage"}

// OldNix puts Nix 2.8 into the machines as OldNixDir/bin/nix (and nix-store…),
// unused until a test puts it into a PATH or calls UseOldNix. Debian's packages
// are fetched once and cached.
func (l *Lab) OldNix(ctx context.Context, machines ...*Machine) error {
	tree := filepath.Join(l.cache, "nix-2.8")
	if err := l.ensureOldNix(ctx, tree); err != nil {
		return fmt.Errorf("fetching Nix 2.8: %w", err)
	}
	for _, m := range machines {
		dst := m.Path(OldNixDir)
		if _, err := os.Stat(dst); err == nil {
			continue
		}
		tmp := dst + ".tmp"
		if err := removeTree(tmp); err != nil {
			return err
		}
		if _, err := run(ctx, "cp", "-a", tree, tmp); err != nil {
			return err
		}
		if err := os.Rename(tmp, dst); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) ensureOldNix(ctx context.Context, tree string) error {
	unlock, err := l.lockCache(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(tree); err == nil {
		return nil
	}
	begin := time.Now()
	if err := l.fetchOldNix(ctx, tree); err != nil {
		return err
	}
	l.logf("Nix 2.8 fetched in %s", time.Since(begin).Round(time.Second))
	return nil
}

func (l *Lab) fetchOldNix(ctx context.Context, tree string) error {
	tmp := tree + ".tmp"
	if err := removeTree(tmp); err != nil {
		return err
	}
	defer func() { _ = removeTree(tmp) }()
	if err := l.bootstrap(ctx, tmp, "extract", "bookworm", "nix-bin", "exit 0"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(tmp, "bin.new"), 0o755); err != nil {
		return err
	}
	for _, name := range oldNixPrograms {
		wrapper := fmt.Sprintf(`#!/bin/sh
lib=%[1]s/usr/lib/x86_64-linux-gnu
exec "%[1]s/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --library-path "%[1]s/usr/lib/nix:$lib:%[1]s/lib/x86_64-linux-gnu" --argv0 %[2]s %[1]s/usr/bin/nix "$@"
`, OldNixDir, name)
		if err := os.WriteFile(filepath.Join(tmp, "bin.new", name), []byte(wrapper), 0o755); err != nil {
			return err
		}
	}
	// Of the tree only what runs Nix is kept.
	if _, err := run(ctx, "sh", "-euc", `cd "$1"
rm -rf bin && mv bin.new bin
rm -rf usr/share var etc sbin usr/sbin usr/lib/locale usr/lib/x86_64-linux-gnu/gconv`, "sh", tmp); err != nil {
		return err
	}
	return os.Rename(tmp, tree)
}

// UseOldNix makes Nix 2.8 the machine's Nix for everybody, SSH logins too,
// until restore is called.
func (m *Machine) UseOldNix(ctx context.Context) (restore func() error, err error) {
	if err := m.lab.OldNix(ctx, m); err != nil {
		return nil, err
	}
	restore = func() error {
		var errs []error
		for _, name := range oldNixPrograms {
			if err := os.Remove(m.Path("/usr/local/bin/" + name)); !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
	for _, name := range oldNixPrograms {
		if err := os.Symlink(OldNixDir+"/bin/"+name, m.Path("/usr/local/bin/"+name)); err != nil {
			return nil, errors.Join(err, restore())
		}
	}
	return restore, nil
}
