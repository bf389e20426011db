package update

import (
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/fetch"
	"ferry/internal/hydra/hydratest"
	"ferry/internal/microvm"
)

// A Hydra over a while: what each of the three addresses takes, and what its
// troubles look like.
func TestHydraOverAWhile(t *testing.T) {
	var mu sync.Mutex
	build := func(id, eval int64, status int64, finished bool, out string) hydratest.Build {
		return hydratest.Build{ID: id, Eval: eval, Project: "infra", Jobset: "main", Job: "web", System: "x86_64-linux", Finished: finished, Status: status, Out: out}
	}
	state := hydratest.State{
		Jobsets: []hydratest.Jobset{{Project: "infra", Name: "main", Flake: recipe}},
		Builds:  []hydratest.Build{build(1, 1, 0, true, webPath)},
	}
	s := httptest.NewServer(hydratest.Handler(func() (hydratest.State, error) {
		mu.Lock()
		defer mu.Unlock()
		return state, nil
	}, nil))
	defer s.Close()
	change := func(to func()) {
		mu.Lock()
		defer mu.Unlock()
		to()
	}
	latest := func(end string) (Found, error) {
		t.Helper()
		h, err := NewHydra(s.URL+"/job/infra/main/{vm}/"+end, HydraOptions{Client: &fetch.Client{AllowHTTP: true, Timeout: 5 * time.Second, MaxBytes: 1 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		return h.Latest(t.Context(), "web")
	}
	want := func(end string, out microvm.StorePath) {
		t.Helper()
		if f, err := latest(end); err != nil || f.Runner != out {
			t.Errorf("%s: %+v, %v; want %s", end, f, err, out)
		}
	}
	want("latest-finished", webPath)
	// A newer success, while another build of that evaluation goes on.
	other := build(3, 2, 0, false, dbPath)
	other.Job = "db"
	change(func() { state.Builds = append(state.Builds, build(2, 2, 0, true, dbPath), other) })
	want("latest-finished", webPath)
	want("latest", dbPath)
	want("latest-for/x86_64-linux", dbPath)
	if _, err := latest("latest-for/aarch64-linux"); !errors.Is(err, ErrNoBuild) {
		t.Errorf("%v", err)
	}
	change(func() { state.Builds[2].Finished = true })
	want("latest-finished", dbPath)
	// A newer one fails: the newest success stays.
	change(func() { state.Builds = append(state.Builds, build(4, 3, 1, true, "")) })
	want("latest", dbPath)

	for fault, text := range map[string]string{
		"html": "a web page instead of JSON", "empty": "it is empty", "endless": "more than 1048576 bytes",
		"to http://127.0.0.2:1/build/2": "another origin",
	} {
		change(func() { state.Faults = map[string]string{"/build/2": fault} })
		if _, err := latest("latest"); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", fault, err, text)
		}
	}
	change(func() { state.Faults, state.Jobsets = nil, nil })
	if _, err := latest("latest"); err == nil || !strings.Contains(err.Error(), "Jobset ‘main’ doesn't exist.") {
		t.Errorf("%v", err)
	}
}
