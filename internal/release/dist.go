package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// All are the platforms that releases are for.
var All = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"}

// Dist says what to make for users: an archive for each platform, and Debian's
// packages for those of Linux.
type Dist struct {
	To        string   // a directory
	Platforms []string // none: All
	Version   string   // the tag of the release; empty: the commit's, or none
	Source    string   // ferry's source; empty: the working directory
}

// sums lists the files of a distribution, in the form of sha256sum(1).
const sums = "SHA256SUMS"

// fixed is what would change the programs, by the environment of who builds.
var fixed = []string{"GOFLAGS=-mod=readonly", "GOWORK=off", "GOAMD64=v1", "GOARM64=v8.0"}

// Do makes the files. They replace those that an earlier run has put there, once
// all of them are made.
func (d Dist) Do(ctx context.Context) error {
	if len(d.Platforms) == 0 {
		d.Platforms = All
	}
	for _, p := range d.Platforms {
		if !slices.Contains(All, p) {
			return fmt.Errorf("there are no releases for %q, but for %s", p, strings.Join(All, ", "))
		}
	}
	source, err := sourceDir(ctx, d.Source)
	if err != nil {
		return err
	}
	v, err := identify(ctx, source, d.Version)
	if err != nil {
		return err
	}
	old, err := earlier(d.To)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.To, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(d.To, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	m := &making{source: source, work: work, version: v}
	if err := m.all(ctx, d.Platforms); err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(filepath.Join(d.To, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range append(m.files, sums) {
		if err := os.Rename(filepath.Join(work, name), filepath.Join(d.To, name)); err != nil {
			return err
		}
	}
	return nil
}

var ourFile = regexp.MustCompile(`^ferry[-_][A-Za-z0-9._~+-]+\.(deb|tar\.gz)$`)

// earlier names the files of an earlier run. Where there is anything else nobody
// could tell afterwards what belongs together.
func earlier(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); e.Type().IsRegular() && (name == sums || ourFile.MatchString(name)) {
			names = append(names, name)
		} else {
			return nil, fmt.Errorf("%s is in the way: empty the directory", filepath.Join(dir, name))
		}
	}
	return names, nil
}

// making is a distribution that is being made.
type making struct {
	source, work string
	version      version
	files        []string // made so far, in work
}

func (m *making) all(ctx context.Context, platforms []string) error {
	docs := filepath.Join(m.work, "docs")
	if err := m.run(ctx, nil, "go", "run", "./cmd/docs", "-o", docs, "-version", m.version.tag); err != nil {
		return fmt.Errorf("making man pages and completions: %w", err)
	}
	for _, platform := range platforms {
		if err := m.one(ctx, platform, docs); err != nil {
			return fmt.Errorf("for %s: %w", platform, err)
		}
	}
	return m.sum()
}

// one makes what there is for a platform.
func (m *making) one(ctx context.Context, platform, docs string) error {
	system, processor, _ := strings.Cut(platform, "/")
	program := filepath.Join(m.work, system+"-"+processor)
	b := Build{To: program, For: platform, Helpers: Platforms, Version: m.version.tag, Source: m.source, Env: fixed}
	if err := b.Do(ctx); err != nil {
		return err
	}
	if err := inspect(program, platform); err != nil {
		return err
	}
	has, err := commitIn(program)
	if err != nil {
		return err
	}
	// Only one who tries something out can do without it.
	if m.version.tag != "" && has != m.version.commit {
		return fmt.Errorf("the program is of commit %q, not of %q: make releases in a clone, not in a worktree", has, m.version.commit)
	}
	parts := append([]part{{"bin/ferry", program, 0o755}, {"share/doc/ferry/LICENSE", filepath.Join(m.source, "LICENSE"), 0o644}}, below(docs)...)
	name := fmt.Sprintf("ferry-%s-%s-%s", m.version.file(), system, processor)
	if err := writeTar(filepath.Join(m.work, name+".tar.gz"), name, parts, m.version.time); err != nil {
		return err
	}
	m.files = append(m.files, name+".tar.gz")
	if system != "linux" {
		return nil
	}
	return m.deb(ctx, processor, program, docs)
}

// sum is made of what is on disk.
func (m *making) sum() error {
	var lines strings.Builder
	for _, name := range slices.Sorted(slices.Values(m.files)) {
		b, err := os.ReadFile(filepath.Join(m.work, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(b), name)
	}
	return os.WriteFile(filepath.Join(m.work, sums), []byte(lines.String()), 0o644)
}

// run runs a program of the source for this machine.
func (m *making) run(ctx context.Context, env []string, args ...string) error {
	env = append(env, "GOOS=", "GOARCH=", "GOFLAGS=-mod=readonly", "GOWORK=off", "SOURCE_DATE_EPOCH="+strconv.FormatInt(m.version.time.Unix(), 10))
	_, err := output(ctx, m.source, env, args...)
	return err
}
