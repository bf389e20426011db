// Command vendorhash computes nix/vendor-hash.nix: the hash that Nix gives the
// folder that `go mod vendor` makes. `make vendor-hash` starts it.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/nix-community/go-nix/pkg/nar"
)

func main() {
	root := flag.String("C", "..", "ferry's source")
	check := flag.Bool("check", false, "change nothing; fail if the file is out of date")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "vendorhash:", err)
		os.Exit(1)
	}
}

// recorded is what nix/vendor-hash.nix says, and nix/package.nix reads.
type recorded struct{ goVersion, hash, sums string }

func (r recorded) String() string {
	return fmt.Sprintf(`# Written by `+"`make vendor-hash`"+`. The folder depends on the modules, on which of
# their packages are imported, and a little on Go.
{
  # The Go whose `+"`go mod vendor`"+` has made the folder.
  go = "%s";

  # What Nix calls the folder: SHA-256 of its NAR.
  hash = "%s";

  # SHA-256 of go.mod with go.sum after it, when that was computed.
  sums = "%s";
}
`, r.goVersion, r.hash, r.sums)
}

func run(root string, check bool) error {
	file := filepath.Join(root, "nix", "vendor-hash.nix")
	now, err := compute(root)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if string(old) == now.String() {
		return nil
	}
	if !check {
		return os.WriteFile(file, []byte(now.String()), 0o644)
	}
	outdated := fmt.Errorf("%s is out of date (it says %s, now it would be %s): run `make vendor-hash`", file, field(old, "hash"), now.hash)
	was := field(old, "go")
	switch {
	case field(old, "sums") != now.sums:
		return outdated
	case minor(was) != minor(now.goVersion):
		fmt.Fprintf(os.Stderr, "vendorhash: not compared: %s was made with Go %s, and this is %s\n", file, was, now.goVersion)
		return nil
	case field(old, "hash") != now.hash:
		return outdated
	}
	return nil // another patch release of Go, the same folder
}

// minor is 1.26 of 1.26.8: within it, Go's folder stays the same.
func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func field(file []byte, name string) string {
	m := regexp.MustCompile(`(?m)^ *` + name + ` = "([^"]*)";`).FindSubmatch(file)
	if m == nil {
		return "nothing"
	}
	return string(m[1])
}

func compute(root string) (r recorded, err error) {
	version, err := goIn(root, "env", "GOVERSION")
	if err != nil {
		return r, err
	}
	r.goVersion = strings.TrimPrefix(version, "go")
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return r, err
		}
		r.sums += string(b)
	}
	r.sums = fmt.Sprintf("%x", sha256.Sum256([]byte(r.sums)))
	r.hash, err = vendorHash(root)
	return r, err
}

func vendorHash(root string) (string, error) {
	tmp, err := os.MkdirTemp("", "ferry-vendor-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	vendor := filepath.Join(tmp, "vendor")
	if _, err := goIn(root, "mod", "vendor", "-o", vendor); err != nil {
		return "", err
	}
	sum := sha256.New()
	if err := nar.DumpPath(io.Writer(sum), vendor); err != nil {
		return "", fmt.Errorf("reading what go mod vendor has made: %w", err)
	}
	return "sha256-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)), nil
}

func goIn(root string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	// Whatever the caller's module or workspace: that in root, as Nix has it.
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
