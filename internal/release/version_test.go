package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVersions(t *testing.T) {
	at := time.Date(2026, 11, 24, 13, 44, 18, 0, time.FixedZone("", 3600))
	const hash = "3146ebc8d6af00112233445566778899aabbccdd"
	for _, c := range []struct {
		commit       commit
		number, file string
	}{
		{commit{tag: "v1.2.0", nearest: "v1.2.0"}, "1.2.0", "1.2.0"},
		{commit{tag: "v1.2.0-rc.1"}, "1.2.0~rc.1", "1.2.0-rc.1"},
		{commit{tag: "v1.2.0", dirty: true}, "1.2.0-dirty", "1.2.0-dirty"},
		{commit{}, "0~git20261124124418.3146ebc8d6af", "0-git20261124124418.3146ebc8d6af"},
		{commit{dirty: true}, "0~git20261124124418.3146ebc8d6af-dirty", "0-git20261124124418.3146ebc8d6af-dirty"},
		{commit{nearest: "v1.2.0"}, "1.2.0+git20261124124418.3146ebc8d6af", "1.2.0+git20261124124418.3146ebc8d6af"},
		{commit{nearest: "v1.2.0-rc.1"}, "1.2.0~rc.1+git20261124124418.3146ebc8d6af", "1.2.0-rc.1+git20261124124418.3146ebc8d6af"},
	} {
		c.commit.hash, c.commit.time = hash, at
		v := c.commit.name()
		if v.number != c.number || v.file() != c.file || v.tag != c.commit.tag {
			t.Errorf("%+v: %+v, files %s", c.commit, v, v.file())
		}
	}
}

// Each is newer than the one before it, for apt too.
func TestVersionsSortInDebian(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("no dpkg here")
	}
	early := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	late := early.Add(time.Minute)
	commits := []commit{
		{hash: "f0", time: early}, {hash: "f0", time: early, dirty: true}, {hash: "00", time: late},
		{tag: "v0.1.0-rc.1"}, {nearest: "v0.1.0-rc.1", hash: "a0", time: early}, {tag: "v0.1.0-rc.2"}, {tag: "v0.1.0"},
		{nearest: "v0.1.0", hash: "a0", time: early}, {nearest: "v0.1.0", hash: "00", time: late}, {tag: "v0.1.1-rc.1"}, {tag: "v0.1.1"}, {tag: "v0.10.0"},
	}
	for i, c := range commits {
		number := c.name().number
		if out, err := exec.CommandContext(t.Context(), "dpkg", "--validate-version", number).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", number, err, out)
		}
		if i == 0 {
			continue
		}
		before := commits[i-1].name().number
		if err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", before, "lt", number).Run(); err != nil {
			t.Errorf("%s does not sort before %s", before, number)
		}
	}
}

// A bad version ends `make dist` before Go or Git have been asked for anything but
// where the source is, and leaves nothing.
func TestBadInputIsRefusedFirst(t *testing.T) {
	to := filepath.Join(t.TempDir(), "dist")
	for _, version := range []string{"1.2.0", "v1.2", "v1.2.0 -X main.x=y", "v1.2.0-rc-1", "v01.2.0", "latest", "v1.2.0+x", "v1.2.0\n"} {
		err := Dist{To: to, Version: version}.Do(t.Context())
		if err == nil || !strings.Contains(err.Error(), "is not a version") {
			t.Errorf("%q: %v", version, err)
		}
	}
	err := Dist{To: to, Platforms: []string{"linux/amd64", "plan9/amd64"}}.Do(t.Context())
	if err == nil || !strings.Contains(err.Error(), `there are no releases for "plan9/amd64"`) {
		t.Error(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if err := (Dist{To: to}).Do(t.Context()); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Error(err)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("the directory was made")
	}
}

func TestFilesInTheWayAreKept(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"SHA256SUMS", "ferry-1.2.0-linux-amd64.tar.gz", "ferry_0~git1.a-dirty_arm64.deb"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := earlier(dir); err != nil || len(names) != 3 {
		t.Errorf("%q, %v", names, err)
	}
	thesis := filepath.Join(dir, "thesis.tar.gz")
	if err := os.WriteFile(thesis, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (Dist{To: dir}).Do(t.Context()); err == nil || !strings.Contains(err.Error(), thesis+" is in the way") {
		t.Error(err)
	}
}

// What Git says of a commit, a tag, and a change on top of it.
func TestVersionOfARepository(t *testing.T) {
	dir := repository(t, t.TempDir(), map[string]string{"file": "1"})
	want := func(want string) {
		t.Helper()
		if v, err := identify(t.Context(), dir, ""); err != nil || v.number != want {
			t.Errorf("%+v, %v; wanted %s", v, err, want)
		}
	}
	hash, err := git(t.Context(), dir, "rev-parse", "--short=12", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	want("0~git20261124124418." + hash)
	for _, tag := range []string{"vendor", "v1", "v0.3.0"} {
		if _, err := git(t.Context(), dir, "tag", tag); err != nil {
			t.Fatal(err)
		}
		if tag != "v0.3.0" {
			want("0~git20261124124418." + hash)
		}
	}
	want("0.3.0")
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want("0.3.0-dirty")
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	if v, err := identify(t.Context(), dir, "v0.4.0"); err != nil || v.number != "0.4.0-dirty" || v.time.Unix() != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

// Without Git somebody has to say what it is.
func TestVersionWithoutARepository(t *testing.T) {
	dir := t.TempDir()
	if _, err := identify(t.Context(), dir, "v0.3.0"); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Error(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	if v, err := identify(t.Context(), dir, "v0.3.0"); err != nil || v.number != "0.3.0" {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := identify(t.Context(), dir, ""); err == nil {
		t.Error("it has a version")
	}
}

// repository puts files into dir and commits them, with the same hash wherever.
func repository(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git here")
	}
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=2026-11-24T12:44:18Z",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=2026-11-24T12:44:18Z"}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"commit", "-qm", "All"}} {
		if _, err := output(t.Context(), dir, env, append([]string{"git"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
