package release

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// debDirs are Debian's places for what `cmd/docs` makes, where they are others.
var debDirs = map[string]string{"share/zsh/site-functions": "share/zsh/vendor-completions"}

// debConfig is nfpm's, in ferry's source.
const debConfig = "tools/nfpm.yaml"

// deb makes Debian's package of a program and its documents.
func (m *making) deb(ctx context.Context, processor, program, docs string) error {
	root := filepath.Join(m.work, "deb-"+processor)
	if err := m.debTree(filepath.Join(root, "usr"), program, docs); err != nil {
		return err
	}
	name := fmt.Sprintf("ferry_%s_%s.deb", m.version.number, processor)
	env := []string{"FERRY_VERSION=" + m.version.number, "FERRY_ARCH=" + processor, "FERRY_ROOT=" + root, "FERRY_MAINTAINER=" + maintainer}
	err := m.run(ctx, env, "go", "tool", "-modfile=tools/go.mod", "nfpm", "package",
		"--config", debConfig, "--packager", "deb", "--target", filepath.Join(m.work, name))
	if err != nil {
		return fmt.Errorf("making Debian's package: %w", err)
	}
	m.files = append(m.files, name)
	return nil
}

// debTree lays /usr out as Debian's policy has it.
func (m *making) debTree(usr, program, docs string) error {
	parts := []part{
		{"bin/ferry", program, 0o755},
		{"share/lintian/overrides/ferry", filepath.Join(m.source, "tools/lintian-overrides"), 0o644},
	}
	for _, p := range below(docs) {
		if dir := debDirs[path.Dir(p.name)]; dir != "" {
			p.name = path.Join(dir, path.Base(p.name))
		}
		parts = append(parts, p)
	}
	for _, p := range parts {
		b, err := os.ReadFile(p.file)
		if err != nil {
			return err
		}
		if err := place(filepath.Join(usr, p.name), b, p); err != nil {
			return err
		}
	}
	license, err := os.ReadFile(filepath.Join(m.source, "LICENSE"))
	if err != nil {
		return err
	}
	doc := filepath.Join(usr, "share/doc/ferry")
	if err := place(filepath.Join(doc, "copyright"), copyright(string(license)), part{mode: 0o644}); err != nil {
		return err
	}
	return writeGzip(filepath.Join(doc, "changelog.gz"), m.changelog())
}

// place writes a file with exactly its mode, whatever the umask. Man pages are
// compressed, as Debian wants them.
func place(to string, content []byte, p part) error {
	for dir := filepath.Dir(to); ; dir = filepath.Dir(dir) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
		if filepath.Base(dir) == "usr" {
			break
		}
	}
	if strings.HasPrefix(p.name, "share/man/") {
		return writeGzip(to+".gz", content)
	}
	if err := os.WriteFile(to, content, p.mode); err != nil {
		return err
	}
	return os.Chmod(to, p.mode)
}

// copyright is the license in the form of debian.org/doc/packaging-manuals/copyright-format.
func copyright(license string) []byte {
	var b strings.Builder
	b.WriteString("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: ferry\n\nFiles: *\n")
	_, text, _ := strings.Cut(license, "Copyright ")
	holders, terms, _ := strings.Cut(text, "\n\n")
	fmt.Fprintf(&b, "Copyright: %s\nLicense: Expat\n", strings.TrimPrefix(holders, "(c) "))
	for line := range strings.Lines(strings.TrimSpace(terms)) {
		if line = strings.TrimRight(line, "\n"); line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return []byte(b.String())
}

// changelog has one entry, for dpkg and those who ask it; ferry's own is in its
// repository.
func (m *making) changelog() []byte {
	return fmt.Appendf(nil, "ferry (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md in ferry's repository.\n\n -- %s  %s\n",
		m.version.number, maintainer, m.version.time.UTC().Format(time.RFC1123Z))
}

// maintainer is the one of Debian's packages.
const maintainer = "The ferry authors <ferry@example.org>"
