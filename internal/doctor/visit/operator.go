package visit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ferry/internal/doctor"
	"ferry/internal/flake"
	"ferry/internal/helperbin"
	"ferry/internal/nix"
)

// Flake is what is known of the flake here.
type Flake struct {
	There bool
	Fleet flake.Fleet
	Err   error
}

// Operator looks at this machine.
func (v *Visit) Operator(ctx context.Context, fl Flake) []doctor.Finding {
	f := doctor.OperatorFacts{Flake: fl.There, FlakeErr: fl.Err, Hosts: slices.Sorted(maps.Keys(fl.Fleet.Hosts)), CacheDir: flake.DefaultCacheDir()}
	within, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if f.Nix, f.NixErr = v.Nix.Version(within); f.NixErr == nil {
		var info nix.StoreInfo
		info, f.StoreErr = v.Nix.Store(within, "", nil)
		f.Store = info.URL
		f.Writable = nix.MayWrite()
	}
	f.SSH, f.SSHErr = sshVersion(ctx)
	_, f.HelperErr = helperbin.For("linux/amd64")
	if f.CacheDir != "" {
		f.CacheErr = writable(f.CacheDir)
	}
	for _, dir := range []string{f.CacheDir, os.TempDir()} {
		if free, err := freeIn(existing(dir)); err == nil && dir != "" {
			f.Space = append(f.Space, doctor.Space{Path: dir, Free: free})
		}
	}
	return doctor.JudgeOperator(f)
}

// sshVersion is the first line of `ssh -V`, which goes to stderr.
func sshVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, shortLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", "-V")
	var said bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &said, time.Second
	if err := cmd.Run(); err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(said.String(), "\n")
	return strings.TrimSpace(line), nil
}

// existing is a directory, or the nearest one above that is there.
func existing(dir string) string {
	for dir != "" && dir != "/" {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

func writable(dir string) error {
	dir = existing(dir)
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "writing in", Path: dir, Err: err}
	}
	return nil
}

func freeIn(dir string) (uint64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	return uint64(s.Bavail) * uint64(s.Bsize), err
}
