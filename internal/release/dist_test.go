package release

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The same commit is the same bytes, wherever it is built and whatever builder's
// umask or settings: archive and package. (`make dist-twice` does it for all
// platforms, without the other's cache.)
func TestSameBytesInAnotherDirectory(t *testing.T) {
	var made [2]map[string][]byte
	for i, name := range []string{"a", "another/ferry"} {
		if i == 1 {
			t.Setenv("GOAMD64", "v3")
			t.Setenv("GOFLAGS", "-race")
			t.Setenv("TZ", "Pacific/Auckland")
		}
		source := copied(t, filepath.Join(t.TempDir(), name))
		d := Dist{To: filepath.Join(source, "dist"), Source: source, Platforms: []string{"linux/amd64"}}
		if err := d.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		made[i] = contents(t, d.To)
		if i == 0 { // again, over what is there
			if err := d.Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			same(t, made[0], contents(t, d.To))
		}
	}
	same(t, made[0], made[1])
	sayTheirCommit(t, made[0])
	if len(made[0]) != 3 || made[0][sums] == nil {
		t.Errorf("%d files", len(made[0]))
	}
}

// The program in an archive says which commit it is of.
func sayTheirCommit(t *testing.T, files map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		if !strings.HasSuffix(name, ".tar.gz") {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "tar", "-xz", "--strip-components=1", "-C", dir)
		cmd.Stdin = bytes.NewReader(b)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		hash, err := commitIn(filepath.Join(dir, "bin/ferry"))
		if err != nil || len(hash) != 40 || !strings.Contains(name, hash[:shortHash]) {
			t.Errorf("%s has a program of the commit %q: %v", name, hash, err)
		}
	}
}

// copied is this source as a repository of its own.
func copied(t *testing.T, to string) string {
	t.Helper()
	out, err := output(t.Context(), "../..", nil, "git", "ls-files", "-co", "--exclude-standard", "--deduplicate")
	if err != nil {
		t.Skip("the source is not in a repository: ", err)
	}
	files := map[string]string{}
	for name := range strings.Lines(out) {
		name = strings.TrimSuffix(name, "\n")
		if b, err := os.ReadFile(filepath.Join("../..", name)); err == nil { // else it is deleted, or a link
			files[name] = string(b)
		}
	}
	return repository(t, to, files)
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = b
	}
	return found
}

func same(t *testing.T, a, b map[string][]byte) {
	t.Helper()
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s is other bytes", name)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d files, then %d", len(a), len(b))
	}
}

// The order of the parts and the files' own times and modes don't matter.
func TestArchiveHasNothingOfTheMachine(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, file := range []string{a, b} {
		if err := os.WriteFile(file, []byte("text"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(b, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1795000000, 0)
	for name, parts := range map[string][]part{
		"1.tar.gz": {{"bin/x", a, 0o755}, {"doc", a, 0o644}},
		"2.tar.gz": {{"doc", b, 0o644}, {"bin/x", b, 0o755}},
	} {
		if err := writeTar(filepath.Join(dir, name), "x-1", parts, at); err != nil {
			t.Fatal(err)
		}
	}
	all := contents(t, dir)
	if !bytes.Equal(all["1.tar.gz"], all["2.tar.gz"]) {
		t.Error("the archives differ")
	}
}

// A program for another platform, or one that needs libraries, is no release.
func TestProgramsAreInspected(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"go.mod": "module x\ngo 1.26\n", "main.go": "package main\nfunc main() {}\n"}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := func(platform string, args ...string) string {
		t.Helper()
		system, processor, _ := strings.Cut(platform, "/")
		to := filepath.Join(dir, system+processor+strings.Join(args, ""))
		env := []string{"CGO_ENABLED=0", "GOFLAGS=", "GOOS=" + system, "GOARCH=" + processor}
		if _, err := output(t.Context(), dir, env, append([]string{"go", "build", "-trimpath", "-o", to}, args...)...); err != nil {
			t.Fatal(err)
		}
		return to
	}
	amd, mac := build("linux/amd64"), build("darwin/arm64")
	for _, c := range []struct{ program, platform, problem string }{
		{amd, "linux/amd64", ""},
		{mac, "darwin/arm64", ""},
		{amd, "linux/arm64", "is for EM_X86_64"},
		{mac, "darwin/amd64", "is for CpuArm64"},
		{amd, "darwin/amd64", "invalid magic"},
		{mac, "linux/arm64", "bad magic"},
		{build("linux/amd64", "-buildmode=pie"), "linux/amd64", "is not static"},
	} {
		err := inspect(c.program, c.platform)
		if fine := err == nil; fine != (c.problem == "") || !fine && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s for %s: %v", c.program, c.platform, err)
		}
	}
	unsigned := filepath.Join(dir, "unsigned")
	b, err := os.ReadFile(mac)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, []byte{codeSignature, 0, 0, 0, 16, 0, 0, 0}) // the command and its size
	if i < 0 {
		t.Fatal("no signature was found")
	}
	b[i] = 0x26 // LC_FUNCTION_STARTS, of the same shape
	if err := os.WriteFile(unsigned, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := inspect(unsigned, "darwin/arm64"); err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Error(err)
	}
}
