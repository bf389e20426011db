package release

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Platforms are those of the helpers in a release.
var Platforms = []string{"linux/amd64", "linux/arm64"}

// Build says what to build.
type Build struct {
	To      string   // ferry's file
	For     string   // the platform of ferry; empty: this one
	Helpers []string // the platforms of the helpers in it; none: this one's
	Version string   // of a release; empty: none
	Commit  Commit   // zero: Go asks git, where it can
	Tags    []string // of both programs
	Source  string   // ferry's source; empty: the working directory
	Env     []string // NAME=value, for Go
}

// Commit is what is built.
type Commit struct {
	ID       string
	Date     string // of the commit, RFC 3339, UTC
	Modified bool   // there are changes on top of it
}

const here = runtime.GOOS + "/" + runtime.GOARCH

// Do builds. It needs Go. The helpers are put into
// ferry by an overlay, so that the source stays as it is and builds that run at the
// same time don't meet.
func (b Build) Do(ctx context.Context) error {
	if b.For == "" {
		b.For = here
	}
	if len(b.Helpers) == 0 {
		b.Helpers = []string{here}
	}
	source, err := sourceDir(ctx, b.Source)
	if err != nil {
		return err
	}
	b.Source = source
	if b.To, err = filepath.Abs(b.To); err != nil {
		return err
	}
	embedded := filepath.Join(source, "internal", "helperbin", "helpers")
	tmp, err := os.MkdirTemp("", "ferry-build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	replace := map[string]string{}
	for _, platform := range b.Helpers {
		name := strings.ReplaceAll(platform, "/", "-")
		program := filepath.Join(tmp, name)
		if err := b.compile(ctx, program, "ferry/cmd/ferry-helper", platform); err != nil {
			return err
		}
		if err := pack(program); err != nil {
			return err
		}
		for _, ext := range []string{".gz", ".sum"} {
			replace[filepath.Join(embedded, name+ext)] = program + ext
		}
	}
	overlay := filepath.Join(tmp, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return err
	}
	return b.compile(ctx, b.To, "ferry/cmd/ferry", b.For, "-overlay", overlay)
}

func (b Build) compile(ctx context.Context, to, pkg, platform string, more ...string) error {
	system, processor, _ := strings.Cut(platform, "/")
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w" + b.stamp(), "-tags", strings.Join(b.Tags, ","), "-o", to}, more...)
	env := append(slices.Clone(b.Env), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+processor)
	if _, err := output(ctx, b.Source, env, append(append([]string{"go"}, args...), pkg)...); err != nil {
		return fmt.Errorf("building %s for %s: %w", pkg, platform, err)
	}
	return nil
}

// stamp is what the programs are told about themselves, as options of the linker.
func (b Build) stamp() string {
	told := map[string]string{"release": b.Version, "commit": b.Commit.ID, "date": b.Commit.Date}
	if b.Commit.Modified {
		told["modified"] = "true"
	}
	var flags strings.Builder
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if told[name] != "" {
			flags.WriteString(" -X ferry/internal/cmdline." + name + "=" + told[name])
		}
	}
	return flags.String()
}

// sourceDir is the root of ferry's source that dir is in.
func sourceDir(ctx context.Context, dir string) (string, error) {
	out, err := output(ctx, dir, []string{"GOWORK=off"}, "go", "list", "-m", "-f", "{{.Dir}}", "ferry")
	if err != nil {
		return "", fmt.Errorf("finding ferry's source: %w", err)
	}
	return strings.TrimSpace(out), nil
}

// output runs a command in dir. The error has what it said.
func output(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out.String(), said.String())
	}
	return out.String(), nil
}

// pack puts beside a program what internal/helperbin reads.
func pack(program string) error {
	b, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is valid
	if _, err := z.Write(b); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(program+".gz", packed.Bytes(), 0o600); err != nil {
		return err
	}
	sum := fmt.Sprintf("%x %d\n", sha256.Sum256(b), len(b))
	return os.WriteFile(program+".sum", []byte(sum), 0o600)
}
