package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// OtherNix is the Nix of another Debian suite than the machines', by the name of
// that suite.
type OtherNix string

const (
	OldNix OtherNix = "bookworm" // 2.8: older than ferry works with
	NewNix OtherNix = "sid"      // the newest that Debian has, whatever that is today
)

// Dir is where the programs and their libraries are in a machine; the programs
// themselves are in its bin.
func (n OtherNix) Dir() string { return "/opt/nix-" + string(n) }

// nixPrograms are what tests and ferry call of Nix.
var nixPrograms = [...]string{"nix", "nix-store", "nix-env", "nix-daemon", "nix-instantiate", "nix-build", "nix-collect-garbage"}

// nixWrapper starts one of the programs with its own loader and libraries: they
// need older or newer ones than the machine has. Nix takes its own program for
// the loader then, so it's told where to find itself.
const nixWrapper = `#!/bin/sh
lib=%[1]s/usr/lib/x86_64-linux-gnu
export NIX_BIN_DIR=%[1]s/bin
exec "$lib/ld-linux-x86-64.so.2" --library-path "%[1]s/usr/lib/nix:$lib" --argv0 %[2]s %[1]s/usr/bin/nix "$@"
`

// ofTheTree keeps, of what Debian's packages hold, only what runs Nix. Suites
// before trixie have some libraries outside /usr.
const ofTheTree = `cd "$1"
if [ ! -L lib ] && [ -d lib/x86_64-linux-gnu ]; then cp -a lib/x86_64-linux-gnu/. usr/lib/x86_64-linux-gnu/; fi
rm -rf bin lib lib64 sbin usr/share usr/sbin usr/lib/locale usr/lib/x86_64-linux-gnu/gconv var etc
`

// InstallNix puts n into the machines, unused until a test names its programs or
// calls UseNix. Debian's packages are fetched once and cached.
func (l *Lab) InstallNix(ctx context.Context, n OtherNix, machines ...*Machine) error {
	tree, err := l.ensureNix(ctx, n)
	if err != nil {
		return fmt.Errorf("fetching the Nix of Debian %s: %w", n, err)
	}
	for _, m := range machines {
		dst := m.Path(n.Dir())
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

// ensureNix returns the cached tree of n, made if it is not there.
func (l *Lab) ensureNix(ctx context.Context, n OtherNix) (string, error) {
	unlock, err := l.lockCache(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	sum := sha256.Sum256([]byte(nixWrapper + ofTheTree + strings.Join(nixPrograms[:], " ")))
	tree := filepath.Join(l.cache, "nix-"+string(n)+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	begin := time.Now()
	if err := l.fetchNix(ctx, n, tree); err != nil {
		return "", err
	}
	l.logf("the Nix of Debian %s fetched in %s", n, time.Since(begin).Round(time.Second))
	return tree, nil
}

func (l *Lab) fetchNix(ctx context.Context, n OtherNix, tree string) error {
	tmp := tree + ".tmp"
	if err := removeTree(tmp); err != nil {
		return err
	}
	defer func() { _ = removeTree(tmp) }()
	if err := l.bootstrap(ctx, tmp, "extract", string(n), "nix-bin", "exit 0"); err != nil {
		return err
	}
	if _, err := run(ctx, "sh", "-euc", ofTheTree, "sh", tmp); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(tmp, "bin"), 0o755); err != nil {
		return err
	}
	for _, name := range nixPrograms {
		wrapper := fmt.Sprintf(nixWrapper, n.Dir(), name)
		if err := os.WriteFile(filepath.Join(tmp, "bin", name), []byte(wrapper), 0o755); err != nil {
			return err
		}
	}
	return os.Rename(tmp, tree)
}

// UseNix makes n the machine's Nix for everybody until restore is called: SSH
// logins, services, and the daemon where the machine has one. version is what
// the machine's `nix --version` says then. The database must be of a schema that
// the machine's own Nix reads too.
func (m *Machine) UseNix(ctx context.Context, n OtherNix) (version string, restore func() error, err error) {
	if err := m.lab.InstallNix(ctx, n, m); err != nil {
		return "", nil, err
	}
	restore = func() error { return m.ownNix(context.WithoutCancel(ctx)) }
	version, err = m.otherNix(ctx, n)
	if err != nil {
		return "", nil, errors.Join(err, restore())
	}
	return version, restore, nil
}

// daemonOverride is in /run: a reboot forgets it.
const daemonOverride = "/run/systemd/system/nix-daemon.service.d/other-nix.conf"

func (m *Machine) otherNix(ctx context.Context, n OtherNix) (version string, err error) {
	for _, name := range nixPrograms {
		if err := os.Symlink(n.Dir()+"/bin/"+name, m.Path("/usr/local/bin/"+name)); err != nil {
			return "", err
		}
	}
	if m.daemon {
		_, err := m.Output(ctx, "sh", "-euc", `mkdir -p "${1%/*}"
printf '[Service]\nExecStart=\nExecStart=%s/bin/nix-daemon --daemon\n' "$2" >"$1"
systemctl daemon-reload; systemctl restart nix-daemon.service`, "sh", daemonOverride, n.Dir())
		if err != nil {
			return "", err
		}
	}
	return m.Output(ctx, "nix", "--version")
}

func (m *Machine) ownNix(ctx context.Context) error {
	var errs []error
	for _, name := range nixPrograms {
		if err := os.Remove(m.Path("/usr/local/bin/" + name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if m.daemon {
		_, err := m.Output(ctx, "sh", "-euc",
			`rm -rf "${1%/*}"; systemctl daemon-reload; systemctl restart nix-daemon.service`, "sh", daemonOverride)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
