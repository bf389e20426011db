package virtiofs

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

const runner = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web")

// newRoom is that of VM web, whose runner has the given script and shares: tag,
// source, socket.
func newRoom(t *testing.T, script string, shares ...[3]string) Room {
	t.Helper()
	dir := t.TempDir()
	r := Room{StateDir: dir + "/microvms", RunDir: dir + "/run", Name: "web", Owner: os.Getuid(), Root: dir + "/root"}
	for _, d := range []string{r.dir(), r.own(), r.Root + string(runner) + "/bin"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, r.Root+string(runner)+"/bin/virtiofsd-run", "#!/bin/sh\n"+script)
	for _, s := range shares {
		write(t, r.Root+string(runner)+"/share/microvm/virtiofs/"+s[0]+"/source", s[1]+"\n")
		write(t, r.Root+string(runner)+"/share/microvm/virtiofs/"+s[0]+"/socket", s[2]+"\n")
	}
	link(t, string(runner), r.dir()+"/booted")
	return r
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func says(err error, want string) bool {
	return err == nil && want == "" || err != nil && want != "" && strings.Contains(err.Error(), want)
}

func TestSourcesAndSockets(t *testing.T) {
	r := Room{StateDir: "/var/lib/microvms", Name: "web"}
	for _, c := range []struct {
		source, socket string
		inside, name   string
		err            string
	}{
		{source: "/nix/store", socket: "web-virtiofs-ro-store.sock", name: "web-virtiofs-ro-store.sock"},
		{source: "/srv/data", socket: "/run/data.sock"},
		{source: "/var/lib/microvms/web/journal", socket: "./journal.sock", inside: "web/journal", name: "journal.sock"},
		{source: "journal", socket: "/var/lib/microvms/web/journal.sock", inside: "web/journal", name: "journal.sock"},
		{source: "/var/lib/../lib/microvms//db/x/y", inside: "db/x/y"},
		{source: "/var/lib/microvms-of-others/web"},
		{source: "/var/lib/microvms/web", err: "share x is all of"},
		{source: ".", err: "share x is all of"},
		{source: "/var/lib/microvms", err: "share x is all of"},
		{source: "/srv", socket: "sockets/x.sock", err: "not directly in /var/lib/microvms/web"},
		{source: "/srv", socket: "../db/x.sock", err: "not directly in"},
		{source: "/srv", socket: "/var/lib/microvms/db/x.sock", err: "not directly in"},
	} {
		all := []share{{"x", c.source, c.socket}}
		sources, err := r.sources(all)
		var names []string
		if err == nil {
			names, err = r.sockets(all)
		}
		if !says(err, c.err) || c.err == "" && (strings.Join(sources, " ") != c.inside || strings.Join(names, " ") != c.name) {
			t.Errorf("%s, %s: %q, %q, %v", c.source, c.socket, sources, names, err)
		}
	}
	if _, err := r.sources([]share{{"a", "data", ""}, {"b", "data/inner", ""}}); !says(err, "shares inside one another") {
		t.Errorf("%v", err)
	}
	if found, err := r.sources([]share{{"a", "data", ""}, {"b", "data", ""}, {"c", "data2", ""}}); err != nil || !slices.Equal(found, []string{"web/data", "web/data2"}) {
		t.Errorf("%q, %v", found, err)
	}
}

// Of a VM's directory root runs what root has linked there, and nothing else.
func TestPlantedBootedIsNotRun(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(t *testing.T, r *Room, booted string)
		err   string
	}{
		"root's":         {func(*testing.T, *Room, string) {}, ""},
		"another user's": {func(_ *testing.T, r *Room, _ string) { r.Owner++ }, "was not made by root"},
		"a file":         {func(t *testing.T, _ *Room, booted string) { _ = os.Remove(booted); write(t, booted, "x") }, "was not made by root"},
		"nothing":        {func(_ *testing.T, _ *Room, booted string) { _ = os.Remove(booted) }, "no such file"},
		"elsewhere":      {func(t *testing.T, _ *Room, booted string) { _ = os.Remove(booted); link(t, "/tmp/evil", booted) }, "not a store path"},
		"a hard link": {func(t *testing.T, _ *Room, booted string) {
			if err := os.Link(booted, booted+"2"); err != nil {
				t.Fatal(err)
			}
		}, "was not made by root"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t, "")
			c.plant(t, &r, r.dir()+"/booted")
			got, err := r.booted()
			if !says(err, c.err) || err == nil && got != r.Root+string(runner) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// The hypervisor finds the sockets where it looks for them, whatever was there,
// and nothing is written through what was.
func TestSocketsAreLinked(t *testing.T) {
	r := newRoom(t, "", [3]string{"a", "/srv", "web-virtiofs-a.sock"}, [3]string{"b", "/srv", "b.sock"})
	canary := filepath.Join(filepath.Dir(r.StateDir), "canary")
	write(t, canary, "canary")
	link(t, canary, r.dir()+"/web-virtiofs-a.sock")
	write(t, r.dir()+"/b.sock", "planted")
	link(t, "/etc", r.dir()+"/mine")
	for _, name := range []string{"web-virtiofs-a.sock", "unsaid.sock"} {
		l, err := net.Listen("unix", r.own()+"/"+name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	for range 2 { // as at each start of virtiofsd
		if err := r.Link(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"web-virtiofs-a.sock", "b.sock", "unsaid.sock"} {
		if to, err := os.Readlink(r.dir() + "/" + name); err != nil || to != r.own()+"/"+name {
			t.Errorf("%s: %q, %v", name, to, err)
		}
	}
	for _, name := range []string{"web-virtiofs-a.sock", "unsaid.sock"} {
		if c, err := net.Dial("unix", r.dir()+"/"+name); err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
	}
	if b, _ := os.ReadFile(canary); string(b) != "canary" {
		t.Errorf("the target of a planted link holds %q", b)
	}
	if err := r.Unlink(); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(r.dir())
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, []string{"booted", "mine"}) {
		t.Errorf("left: %q", left)
	}
	if err := os.Mkdir(r.dir()+"/b.sock", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.Link(); !says(err, r.dir()+"/b.sock") {
		t.Errorf("with a directory in the way: %v", err)
	}
	if err := os.RemoveAll(r.dir()); err != nil {
		t.Fatal(err)
	}
	if err := r.Unlink(); err != nil {
		t.Errorf("of a VM that was removed: %v", err)
	}
}
