package update

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ferry/internal/fetch"
	"ferry/internal/microvm"
)

const (
	webPath = "/nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-microvm-web"
	dbPath  = "/nix/store/ab9zv2y5gm8hr6g318p0s6kaclwj4slr-microvm-db"
	recipe  = "git+https://git.example.org/infra?ref=flake-update"
)

// hydraServer answers for the jobset infra/main, which builds flake (a JSON
// value), and counts how often each page is asked for.
func hydraServer(t *testing.T, flake string, builds map[string]string) (url string, asked func(string) int) {
	t.Helper()
	var mu sync.Mutex
	counts := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		counts[r.URL.Path]++
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/jobset/infra/main" {
			fmt.Fprintf(w, `{"project":"infra","name":"main","type":1,"flake":%s}`, flake)
			return
		}
		page, ok := builds[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			page = `{"error":"There is no successful build to redirect to."}`
		}
		fmt.Fprint(w, page)
	}))
	t.Cleanup(s.Close)
	return s.URL, func(path string) int {
		mu.Lock()
		defer mu.Unlock()
		return counts[path]
	}
}

func build(job string, finished, status int, out string) string {
	return fmt.Sprintf(`{"id":7,"finished":%d,"buildstatus":%d,"stoptime":1588365711,"project":"infra","jobset":"main","job":%q,"system":"x86_64-linux","buildoutputs":{"out":{"path":%q}}}`,
		finished, status, job, out)
}

func newHydra(t *testing.T, address string, anyFlake bool) *Hydra {
	t.Helper()
	s, err := NewHydra(address, HydraOptions{Client: &fetch.Client{AllowHTTP: true}, AnyFlake: anyFlake})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHydra(t *testing.T) {
	url, asked := hydraServer(t, `"`+recipe+`"`, map[string]string{
		"/job/infra/main/web/latest-finished":  build("web", 1, 0, webPath),
		"/job/infra/main/db/latest-finished":   build("db", 1, 0, dbPath),
		"/job/infra/main/slow/latest-finished": build("slow", 0, 0, dbPath),
		"/job/infra/main/bad/latest-finished":  build("bad", 1, 2, dbPath),
	})
	s := newHydra(t, url+"/jobset/infra/main", false)
	f, err := s.Latest(t.Context(), "web")
	if err != nil || f.Runner != webPath || f.Flake != recipe || f.Build != url+"/build/7" || f.Job != url+"/job/infra/main/web" || f.ID != 7 || f.Built.Year() != 2020 {
		t.Fatalf("%+v, %v", f, err)
	}
	for vm, want := range map[microvm.Name]error{"db": nil, "slow": ErrNotFinished, "bad": ErrFailed, "none": ErrNoBuild} {
		if _, err := s.Latest(t.Context(), vm); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", vm, err, want)
		}
	}
	if n := asked("/jobset/infra/main"); n != 1 {
		t.Errorf("the jobset was asked for %d times", n)
	}
}

func TestHydraAddresses(t *testing.T) {
	for _, c := range []struct{ address, want, err string }{
		{"https://hydra.example.org/jobset/infra/main", "https://hydra.example.org/job/infra/main/{vm}", ""},
		{"https://hydra.example.org/jobset/infra/main/", "https://hydra.example.org/job/infra/main/{vm}", ""},
		{"https://hydra.example.org/job/infra/main/{vm}", "https://hydra.example.org/job/infra/main/{vm}", ""},
		{"https://hydra.example.org/job/infra/main/nixosConfigurations.{vm}/latest", "https://hydra.example.org/job/infra/main/nixosConfigurations.{vm}", ""},
		{"https://example.org/ci/job/infra/main/web/latest-for/x86_64-linux", "https://example.org/ci/job/infra/main/web", ""},
		{"https://example.org/job/job/infra/main/web", "", "expected latest-finished"}, // a project named job
		{"https://hydra.example.org", "", "not the address of a jobset"},
		{"https://hydra.example.org/build/7", "", "not the address of a jobset"},
		{"https://hydra.example.org/job/infra/main/web?x", "", "not the address of a jobset"},
		{"https://hydra.example.org/job/infra/main/web/newest", "", "expected latest-finished"},
		{"https://hydra.example.org/job/infra/main/%2e%2e/latest", "", "not a valid name of a job"},
		{"https://hydra.example.org/job/infra/main/a%2Fb/latest", "", "not the address of a jobset"},
		{"https://me:secret@hydra.example.org/jobset/infra/main", "", "credentials"},
		{"hydra.example.org/jobset/infra/main", "", "must begin with"},
		{"http://hydra.example.org/jobset/infra/main", "", "is not encrypted"},
		{"http://localhost/jobset/infra/main", "", "is not encrypted"},
	} {
		s, err := NewHydra(c.address, HydraOptions{})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v, want %q", c.address, err, c.err)
			}
		} else if err != nil || s.String() != c.want {
			t.Errorf("%s: %v, %v", c.address, s, err)
		}
	}
}

// One job is not for two VMs.
func TestHydraJobWithoutTheVMsName(t *testing.T) {
	url, _ := hydraServer(t, `"`+recipe+`"`, map[string]string{"/job/infra/main/web/latest": build("web", 1, 0, webPath)})
	s := newHydra(t, url+"/job/infra/main/web/latest", false)
	for range 2 {
		if _, err := s.Latest(t.Context(), "web1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Latest(t.Context(), "web2"); err == nil || !strings.Contains(err.Error(), "can't be for both web1 and web2") {
		t.Fatalf("%v", err)
	}
}

// A VM is updated only from the flake that its `flake` file records.
func TestFor(t *testing.T) {
	for _, c := range []struct{ built, recorded, err string }{
		{recipe, recipe, ""},
		{recipe, "git+https://git.example.org:443/infra.git?ref=refs/heads/flake-update", ""},
		{recipe, "git+https://git.example.org/infra", "its `flake` file says git+https://git.example.org/infra, but the builds are from " + recipe},
		{recipe, "", "it has no `flake` file"},
		// A fixed store path is said, instead of an update that never comes.
		// microvm-nix/microvm.nix#55, #416, #283
		{recipe, webPath, "its `flake` file says " + webPath},
		{"", "", ""},
		{"", "github:acme/infra", ""},
		{"git+https://me:s3cret@git.example.org/infra", "git+https://t0ken@git.example.org/other", "says git+https://…@git.example.org/other, but"},
	} {
		err := Found{Flake: c.built}.For(c.recorded)
		var other *OtherFlakeError
		switch {
		case c.err == "" && err != nil, c.err != "" && (!errors.As(err, &other) || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s for %s: %v", c.built, c.recorded, err)
		case err != nil && (strings.Contains(err.Error()+other.Hint(), "s3cret") || strings.Contains(err.Error(), "t0ken")):
			t.Errorf("a secret is shown: %v", err)
		}
	}
}

func TestJobsetWithoutAFlake(t *testing.T) {
	url, _ := hydraServer(t, `""`, map[string]string{"/job/infra/main/web/latest-finished": build("web", 1, 0, webPath)})
	if _, err := newHydra(t, url+"/jobset/infra/main", false).Latest(t.Context(), "web"); err == nil || !strings.Contains(err.Error(), "builds no flake") {
		t.Errorf("%v", err)
	}
	if f, err := newHydra(t, url+"/jobset/infra/main", true).Latest(t.Context(), "web"); err != nil || f.For("") != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestFile(t *testing.T) {
	pair := fmt.Sprintf(`{"web": %q, "db": %q}`, webPath, dbPath)
	for _, c := range []struct{ name, content, vm, path, err string }{
		{"one path", webPath, "web", webPath, ""},
		{"one path and a new line", webPath + "\n", "any", webPath, ""},
		{"names", pair, "db", dbPath, ""},
		{"another name", pair, "cron", "", "does not name cron"},
		{"no names", "{}", "web", "", "does not name web"},
		{"nothing", " \n", "web", "", "it is empty"},
		{"two paths", webPath + "\n" + dbPath, "web", "", "neither a store path nor"},
		{"a path of elsewhere", "/etc/passwd", "web", "", "neither a store path nor"},
		{"a path below one", webPath + "/bin/microvm-run", "web", "", "neither a store path nor"},
		{"a derivation", webPath + ".drv", "web", "", "is a derivation"},
		{"a web page", "<!DOCTYPE html>", "web", "", "neither a store path nor"},
		{"a JSON string", `"` + webPath + `"`, "web", "", "neither a store path nor"},
		{"a JSON list", `["` + webPath + `"]`, "web", "", "neither a store path nor"},
		{"no JSON", `{"web": `, "web", "", "it is not JSON"},
		{"half of it", pair[:len(pair)-1], "web", "", "it is not JSON"},
		{"something behind", pair + "{}", "web", "", "something follows"},
		{"twice", fmt.Sprintf(`{"web": %q, "web": %q}`, webPath, dbPath), "web", "", "it names web twice"},
		{"an object", `{"web": {"path": "` + webPath + `"}}`, "web", "", "for web it has {\"path\""},
		{"null", `{"web": null}`, "web", "", "for web it has null"},
		{"a number", `{"web": 1}`, "web", "", "for web it has 1"},
		{"a wrong path of another", `{"db": "/tmp", "web": "` + webPath + `"}`, "web", "", `for db: "/tmp" is not a store path`},
		{"a wrong name", `{"../web": "` + webPath + `"}`, "web", "", "is not a valid VM name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "paths")
			if err := os.WriteFile(name, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			s := http.FileServer(http.Dir(filepath.Dir(name)))
			server := httptest.NewServer(s)
			defer server.Close()
			for _, place := range []string{name, "file://" + name, server.URL + "/paths"} {
				f, err := newFile(t, place).Latest(t.Context(), microvm.Name(c.vm))
				if c.err == "" && (err != nil || string(f.Runner) != c.path || f.Flake != "" || f.Build == "") {
					t.Errorf("%s: %+v, %v", place, f, err)
				}
				if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("%s: %v, want %q", place, err, c.err)
				}
				if errors.Is(err, ErrNoBuild) != strings.HasPrefix(c.err, "does not name") {
					t.Errorf("%s: %v is of the wrong kind", place, err)
				}
			}
		})
	}
}

func newFile(t *testing.T, place string) *File {
	t.Helper()
	s, err := NewFile(place, &fetch.Client{AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// One path is not for two VMs.
func TestOnePathForTwo(t *testing.T) {
	name := filepath.Join(t.TempDir(), "path")
	if err := os.WriteFile(name, []byte(webPath), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newFile(t, name)
	if _, err := s.Latest(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Latest(t.Context(), "db"); err == nil || !strings.Contains(err.Error(), "can't be for both web and db") {
		t.Fatalf("%v", err)
	}
}

// What is not a regular file never blocks a run.
func TestStrangeFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFile+1); err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]string{
		pipe: "not a regular file", dir: "not a regular file", "/dev/zero": "not a regular file", large: "more than", dir + "/none": "no such file",
	} {
		if _, err := newFile(t, place).Latest(t.Context(), "web"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", place, err)
		}
	}
	for _, place := range []string{"", "file://", "file://host", "ftp://h/x", "https://me:pw@h/x", "http://h/x", "http://127.0.0.1/x"} {
		if s, err := NewFile(place, nil); err == nil {
			t.Errorf("%q: %v", place, s)
		}
	}
}

// It is read once: all VMs of a run get what one state of the file says. A read
// that failed is done again.
func TestFileIsReadOnce(t *testing.T) {
	reads := 0
	s := &File{place: "x", read: func(context.Context) ([]byte, error) {
		if reads++; reads == 1 {
			return nil, errors.New("not yet")
		}
		return fmt.Appendf(nil, `{"web": %q, "db": %q}`, webPath, dbPath), nil
	}}
	if _, err := s.Latest(t.Context(), "web"); err == nil {
		t.Error("no error")
	}
	for _, vm := range []microvm.Name{"web", "db"} {
		if _, err := s.Latest(t.Context(), vm); err != nil {
			t.Error(err)
		}
	}
	if reads != 2 {
		t.Errorf("%d reads", reads)
	}
}

func FuzzContents(f *testing.F) {
	for _, s := range []string{webPath, `{"web": "` + webPath + `"}`, `{"a":1}`, "{}", `{"web":null}`, "[", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseContents(body)
		if err != nil {
			return
		}
		paths := []microvm.StorePath{}
		if c.one != "" {
			paths = append(paths, c.one)
		}
		for n, p := range c.paths {
			if _, err := microvm.ParseName(string(n)); err != nil {
				t.Errorf("%q: %v", body, err)
			}
			paths = append(paths, p)
		}
		for _, p := range paths {
			if _, err := microvm.ParseStorePath(string(p)); err != nil || p.IsDerivation() {
				t.Errorf("%q: %q, %v", body, p, err)
			}
		}
	})
}
