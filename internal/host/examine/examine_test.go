package examine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// A look that fails, or comes to no end, is said to be unknown; the others answer.
func TestALookThatHangsKeepsNobody(t *testing.T) { synctest.Test(t, hangs) }

func hangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	late := false
	h := Host{}
	e := &hostapi.Examined{Unknown: map[string]string{}}
	h.run(t.Context(), []look{
		{"good", func(context.Context) (func(*hostapi.Examined), error) {
			return func(e *hostapi.Examined) { e.Systemd = "257" }, nil
		}},
		{"bad", func(context.Context) (func(*hostapi.Examined), error) {
			return nil, errors.New(strings.Repeat("x", 1<<20))
		}},
		{"stuck", func(context.Context) (func(*hostapi.Examined), error) {
			<-release
			return func(*hostapi.Examined) { late = true }, nil
		}},
	}, e)
	if e.Systemd != "257" || len(e.Unknown["bad"]) > 2*maxWhy || !strings.Contains(e.Unknown["stuck"], "within 20s") || len(e.Unknown) != 2 || late {
		t.Errorf("%.300v", e)
	}
}

// What deployments have left is found, and changed by nobody.
func TestWhatIsLeft(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.Write("lib/vms/web/deployment.json", `{"id":"20260101T000000-abcdef","by":"her@desk","lastError":"systemd does not answer"}`)
	h.Write("lib/vms/db/deployment.json", "{")
	for _, dir := range []string{"lib/bin/" + strings.Repeat("a", 64), "lib/bin/tmp.old", "lib/bin/tmp.new", "gcroots/microvm", "gcroots/ferry/web", "gcroots/ferry/mail"} {
		if err := os.MkdirAll(filepath.Join(h.Layout.Root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-2 * oldUpload)
	if err := os.Chtimes(filepath.Join(h.Layout.Root, "lib/bin/tmp.old"), old, old); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(h.Layout.Root, string(hosttest.RunnerA))
	for link, target := range map[string]string{
		"microvm/web": there, "microvm/gone": "/nowhere", "microvm/old-web": "/nowhere", "microvm/booted-web": "/nowhere",
		"ferry/web/pending": "/nowhere", "ferry/mail/running": "/nowhere", "ferry/mail/kept": there,
	} {
		if err := os.Symlink(target, filepath.Join(h.Layout.GCRoots, link)); err != nil {
			t.Fatal(err)
		}
	}
	before := h.Everything()
	e := examined(t, Host{Layout: h.Layout}.left)
	if h.Everything() != before {
		t.Error("something was changed")
	}
	if n := e.Left.Notes; len(n) != 2 || n[0].VM != "db" || n[0].Why == "" || n[1].By != "her@desk" || n[1].Why != "systemd does not answer" || n[1].Working {
		t.Errorf("notes %+v", n)
	}
	if got, want := strings.Join(e.Left.Dangling, " "), h.Layout.GCRoots+"/microvm/gone "+h.Layout.GCRoots+"/ferry/mail/running"; got != want {
		t.Errorf("dangling roots %s, want %s", got, want)
	}
	if e.Left.Helpers != 1 || len(e.Left.Uploads) != 1 || filepath.Base(e.Left.Uploads[0]) != "tmp.old" {
		t.Errorf("helpers %+v", e.Left)
	}
}

// A deployment whose lock is held is at work, not left.
func TestADeploymentUnderWayIsAtWork(t *testing.T) {
	h := hosttest.New(t)
	h.Write("lib/vms/web/deployment.json", `{"id":"1","by":"her@desk"}`)
	lock, err := h.Layout.VM("web").Lock().Take(t.Context(), hostapi.Lock{By: "her@desk", Deployment: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if e := examined(t, Host{Layout: h.Layout}.left); len(e.Left.Notes) != 1 || !e.Left.Notes[0].Working {
		t.Errorf("%+v", e.Left.Notes)
	}
}

// What is known of the system inside: from the record that ferry keeps, else from the
// runner.
func TestInsideAVM(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	ask := func() hostapi.ExaminedVM {
		e := hostapi.ExaminedVM{Name: "web"}
		Host{Layout: h.Layout}.inside(&e, hosttest.RunnerA)
		return e
	}
	if e := ask(); e.Store != "" {
		t.Errorf("a runner that does not tell: %+v", e)
	}
	source := filepath.Join(h.Layout.Root, string(hosttest.RunnerA), "share/microvm/virtiofs/ro-store/source")
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, []byte("/nix/store\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if e := ask(); e.Store != hostapi.StoreShared {
		t.Errorf("a runner that shares it: %+v", e)
	}
	if err := h.Layout.VM("web").Notes().PutRecord(hosttest.RunnerA, &microvm.Record{HostName: "inside"}); err != nil {
		t.Fatal(err)
	}
	if e := ask(); e.Store != hostapi.StoreOwn || e.HostName != "inside" {
		t.Errorf("the record says otherwise: %+v", e)
	}
}

func TestOwners(t *testing.T) {
	hosttest.NeedRoot(t)
	h := hosttest.New(t)
	h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerA)})
	if e := examined(t, Host{Layout: h.Layout}.state); !e.State.Protected || len(e.State.Strays) != 0 {
		t.Errorf("%+v", e.State)
	}
	link := filepath.Join(h.Layout.VM("web").Path(), "current")
	if err := os.Lchown(link, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if e := examined(t, Host{Layout: h.Layout}.state); len(e.State.Strays) != 1 || !strings.Contains(e.State.Strays[0], link) {
		t.Errorf("%+v", e.State)
	}
	if err := os.Chown(h.Layout.StateDir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if e := examined(t, Host{Layout: h.Layout}.state); e.State.Protected || len(e.State.Strays) != 0 {
		t.Errorf("%+v", e.State)
	}
}

// The newest path is one that a guest could see: not a lock, a derivation or an upload
// of Nix's.
func TestNewestPath(t *testing.T) {
	h := hosttest.New(t)
	if e := examined(t, Host{Layout: h.Layout}.newest); e.Newest.Path != "" {
		t.Errorf("%+v", e.Newest)
	}
	h.Write(string(hosttest.RunnerA), "")
	for _, name := range []string{string(hosttest.RunnerB) + ".lock", string(hosttest.RunnerC) + ".drv", "/nix/store/.links", "/nix/store/tmp-1-2"} {
		h.Write(name, "")
	}
	if e := examined(t, Host{Layout: h.Layout}.newest); e.Newest.Path != hosttest.RunnerA || time.Since(e.Newest.At).Abs() > time.Hour {
		t.Errorf("%+v", e.Newest)
	}
}

func TestMounts(t *testing.T) {
	mounts := parseMounts(`22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 254:1 /nix/store /nix/store ro,relatime shared:9 - ext4 /dev/vda1 rw
31 22 254:2 / /var/lib/micro\040vms rw,relatime - ext4 /dev/vdb ro,errors=remount-ro
32 22 0:40 / /var/lib/ferry ro,nosuid - tmpfs tmpfs rw
garbage
`)
	if len(mounts) != 4 {
		t.Fatalf("%+v", mounts)
	}
	for path, want := range map[string]mount{
		"/nix/store":            {at: "/nix/store", readOnly: true},
		"/nix/storeroom":        {at: "/"},
		"/var/lib/micro vms/db": {at: "/var/lib/micro vms", diskReadOnly: true},
		"/var/lib/ferry/bin":    {at: "/var/lib/ferry", readOnly: true},
		"/var":                  {at: "/"},
	} {
		if m := mountOf(path, mounts); m == nil || *m != want {
			t.Errorf("%s: %+v", path, m)
		}
	}
	// The store that NixOS mounts read-only over itself can be written by Nix.
	if d := disk("store", "/", []mount{{at: "/", readOnly: true}}); !d.ReadOnly || d.Size == 0 {
		t.Errorf("%+v", d)
	}
	if d := disk("state", "/not/there/yet", nil); d.ReadOnly || d.Why != "" || d.Size == 0 {
		t.Errorf("%+v", d)
	}
}

func TestSSHDSettings(t *testing.T) {
	for said, want := range map[string]hostapi.ExaminedSSHD{
		"port 22\nmaxsessions 10\nmaxstartups 10:30:100\n": {MaxSessions: 10, MaxStartups: "10:30:100"},
		"maxsessions 0\n": {MaxSessions: -1},
		"":                {},
	} {
		if got := sshdSettings(said); got != want {
			t.Errorf("%q: %+v", said, got)
		}
	}
}

func examined(t *testing.T, find func(context.Context) (func(*hostapi.Examined), error)) *hostapi.Examined {
	t.Helper()
	write, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := &hostapi.Examined{}
	write(e)
	return e
}
