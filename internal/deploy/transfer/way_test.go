package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

const (
	drv    = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner.drv")
	runner = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-runner")
)

// fake is an operator's Nix, a host and a terminal; it notes what it is asked, and
// fails where its script says so.
type fake struct {
	said     []string
	fails    map[string][]error // by what is done, one after another
	lacks    []microvm.StorePath
	password bool
	local    bool
	distrust bool
}

func (f *fake) do(what string) error {
	f.said = append(f.said, what)
	word, _, _ := strings.Cut(what, " ")
	if left := f.fails[word]; len(left) > 0 {
		f.fails[word] = left[1:]
		return left[0]
	}
	return nil
}

func (f *fake) CopyDerivations(_ context.Context, r nix.CopyRequest) error {
	return f.do("copy-drvs " + r.To)
}

func (f *fake) CopyPaths(_ context.Context, r nix.PathsRequest) error {
	return f.do(fmt.Sprintf("copy %s>%s %t", r.From, r.To, r.Substitute))
}

func (f *fake) Requisites(context.Context, ...microvm.StorePath) ([]microvm.StorePath, error) {
	return []microvm.StorePath{drv, runner}, f.do("requisites")
}

func (f *fake) Export(_ context.Context, w io.Writer, p []microvm.StorePath) error {
	_, _ = io.WriteString(w, "nar")
	return f.do(fmt.Sprintf("export %d", len(p)))
}

func (f *fake) Store(_ context.Context, url string, _ []string) (nix.StoreInfo, error) {
	return nix.StoreInfo{Trusted: !f.distrust}, f.do("store " + url)
}

func (f *fake) BuildIn(_ context.Context, r nix.BuildRequest) ([]microvm.StorePath, error) {
	return []microvm.StorePath{runner}, f.do(fmt.Sprintf("build-here %s %q", r.Store, r.Options))
}

func (f *fake) Fetch(_ context.Context, r nix.FetchRequest) error {
	return f.do(fmt.Sprintf("download %s %s", r.Cache, r.Stall))
}

func (f *fake) Push(_ context.Context, to string, _ []string, _ microvm.StorePath) error {
	return f.do("push " + to)
}

func (f *fake) Signers(context.Context, string, microvm.StorePath) ([]string, error) {
	return []string{"key-1"}, f.do("signers")
}

func (f *fake) TrustedKeys(context.Context) ([]string, error) {
	return []string{"other-1"}, f.do("keys")
}

func (f *fake) Call(_ context.Context, req hostapi.Request, result any) error {
	switch {
	case req.Missing != nil:
		*result.(*[]microvm.StorePath) = f.lacks
		return f.do(fmt.Sprintf("missing %t", req.Missing.Substitute))
	case req.Build != nil:
		result.(*hostapi.Built).Runner = runner
		return f.do(fmt.Sprintf("build %d %t", len(req.Build.Derivations), req.Build.Built != ""))
	case req.Evaluate != nil:
		result.(*hostapi.Evaluated).Output = []byte(`{"vms":{"web":{"record":{"name":"web","runner":{"drv":"` + string(drv) + `"}}}}}`)
		return f.do("evaluate")
	}
	return f.do("fetch " + req.Fetch.Cache)
}

func (f *fake) Import(context.Context) (*Process, error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, r); done <- err }()
	return &Process{Stdin: w, Stdout: strings.NewReader(""), Wait: func() error { return errors.Join(<-done, f.do("imported")) }}, nil
}

func (f *fake) Pair(remote.Conn) ([]string, func(), error) { return nil, func() {}, f.do("pair") }
func (f *fake) Streams() bool                              { return f.password }
func (f *fake) NixCopy() remote.NixTarget {
	if f.local {
		return remote.NixTarget{}
	}
	return remote.NixTarget{Store: "host"}
}

func (f *fake) way() Way {
	return Way{To: microvm.Address{Host: "host", Local: f.local}, Host: f, Report: new(warnings), Nix: func(io.Writer) Nix { return f }}
}

type builder struct{ remote.Conn }

func (builder) NixCopy() remote.NixTarget { return remote.NixTarget{Store: "builder"} }

// Each way of a closure to a host, and what is done where it fails.
func TestWays(t *testing.T) {
	no := errors.New("no")
	derivations := func(ctx context.Context, w Way) error { return w.Derivations(ctx, drv) }
	onHost := func(ctx context.Context, w Way) error {
		_, err := w.BuildOnHost(ctx, "web", func(ctx context.Context, _ int) (microvm.StorePath, error) {
			return drv, w.Derivations(ctx, drv)
		}, w.ClosureGone)
		return err
	}
	elsewhere := func(at Place) func(context.Context, Way) error {
		return func(ctx context.Context, w Way) error {
			_, err := w.BuildElsewhere(ctx, Recipe{VM: "web", Runner: microvm.Output{Drv: drv, Out: runner}, Options: []string{"--offline", "--impure"}}, at)
			return err
		}
	}
	here, far := elsewhere(Place{Name: "this machine"}), elsewhere(Place{Name: "b", Builder: builder{}})
	evaluate := func(ctx context.Context, w Way) error {
		ev, err := w.Evaluate(ctx, "web", "web", &flake.Archive{URL: "u", Revision: "r", Sources: []microvm.StorePath{drv}})
		if err == nil && (ev.URL != "u" || ev.Revision != "r" || ev.Record.Runner.Drv != drv) {
			return fmt.Errorf("got %+v", ev)
		}
		return err
	}
	obtain := func(f Fetch) func(context.Context, Way) error {
		f.VM, f.Runner = "web", runner
		return func(ctx context.Context, w Way) error { return w.Obtain(ctx, f) }
	}
	check := func(p microvm.BuildPlace) func(context.Context, Way) error {
		return func(ctx context.Context, w Way) error {
			_, err := w.CheckPlace(ctx, p, nil, func(context.Context, microvm.Address) (remote.Conn, error) { return builder{}, nil })
			return err
		}
	}
	lost := []microvm.StorePath{drv}
	unreachable := &hostapi.Failure{Kind: hostapi.KindUnreachable, Message: "no cache"}
	unsigned := &nix.FetchError{Kind: nix.FetchUnsigned, Path: runner, Err: no}
	for _, c := range []struct {
		name string
		do   func(context.Context, Way) error
		fake fake
		said string
		err  string
	}{
		{"derivations", derivations, fake{}, "copy-drvs host", ""},
		{"derivations on this machine", derivations, fake{local: true}, "", ""},
		{"derivations where sudo wants a password", derivations, fake{password: true, lacks: lost}, "requisites, missing false, export 1, imported", ""},
		{"nothing is missing there", derivations, fake{password: true}, "requisites, missing false", ""},
		{"the import fails", derivations, fake{password: true, lacks: lost, fails: map[string][]error{"imported": {no}}}, "requisites, missing false, export 1, imported", "importing them on host: no"},
		{"the export fails", derivations, fake{password: true, lacks: lost, fails: map[string][]error{"export": {no}}}, "requisites, missing false, export 1, imported", "no"},

		{"built on the host", onHost, fake{}, "copy-drvs host, build 1 false", ""},
		{"the build fails", onHost, fake{fails: map[string][]error{"build": {no}}}, "copy-drvs host, build 1 false, requisites, missing false", "no"},
		{"derivations were collected", onHost, fake{lacks: lost, fails: map[string][]error{"build": {no}}}, "copy-drvs host, build 1 false, requisites, missing false, copy-drvs host, build 1 false", ""},
		{"and again and again", onHost, fake{lacks: lost, fails: map[string][]error{"build": {no, no, no}}}, "copy-drvs host, build 1 false, requisites, missing false, copy-drvs host, build 1 false, requisites, missing false, copy-drvs host, build 1 false", "no"},

		{"built here", here, fake{}, `build-here  ["--offline"], copy >host true, build 0 true`, ""},
		{"built in place", here, fake{local: true}, `build-here  ["--offline"], build 0 true`, ""},
		{"built here for a host with a password", here, fake{password: true}, `build-here  ["--offline"], requisites, missing true, build 0 true`, ""},
		{"built on a builder", far, fake{}, `build-here builder ["--offline"], pair, copy builder>host true, build 0 true`, ""},
		{"built on a builder for this machine", far, fake{local: true}, `build-here builder ["--offline"], pair, copy builder> false, build 0 true`, ""},
		{"built on a builder for a host with a password", far, fake{password: true}, `build-here builder ["--offline"], copy builder> false, requisites, missing true, build 0 true`, ""},
		{"what was copied was collected", here, fake{lacks: []microvm.StorePath{runner}, fails: map[string][]error{"build": {no}}}, `build-here  ["--offline"], copy >host true, build 0 true, missing false, build-here  ["--offline"], copy >host true, build 0 true`, ""},
		{"the build here fails", here, fake{fails: map[string][]error{"build-here": {&nix.BuildError{Derivation: drv, Message: "exit 1"}}}}, `build-here  ["--offline"]`, "on this machine failed: exit 1"},
		{"no Nix here", here, fake{fails: map[string][]error{"build-here": {no}}}, `build-here  ["--offline"]`, "building on this machine: no"},
		{"the copy fails", here, fake{fails: map[string][]error{"copy": {no}}}, `build-here  ["--offline"], copy >host true`, "copying what was built to host: no"},

		{"evaluated on the host", evaluate, fake{}, "copy >host false, evaluate", ""},
		{"evaluated on this machine as the host", evaluate, fake{local: true}, "evaluate", ""},
		{"sources through the helper", evaluate, fake{password: true}, "requisites, missing false, evaluate", ""},
		{"sources were collected", evaluate, fake{lacks: lost, fails: map[string][]error{"evaluate": {no}}}, "copy >host false, evaluate, missing false, copy >host false, evaluate", ""},
		{"the evaluation fails", evaluate, fake{fails: map[string][]error{"evaluate": {no}}}, "copy >host false, evaluate, missing false", "no"},

		{"downloaded", obtain(Fetch{Cache: "c"}), fake{}, "fetch c", ""},
		{"relayed", obtain(Fetch{Cache: "c", OnlyRelay: true}), fake{}, "download c 1m0s, push host, fetch c", ""},
		{"relayed since the host can't", obtain(Fetch{Cache: "c"}), fake{fails: map[string][]error{"fetch": {unreachable}}}, "fetch c, download c 1m0s, push host, fetch c", ""},
		{"never relayed", obtain(Fetch{Cache: "c", NeverRelay: true}), fake{fails: map[string][]error{"fetch": {unreachable}}}, "fetch c", "no cache"},
		{"the host's own caches", obtain(Fetch{}), fake{fails: map[string][]error{"fetch": {unreachable}}}, "fetch ", "no cache"},
		{"the download fails", obtain(Fetch{Cache: "c"}), fake{fails: map[string][]error{"fetch": {no}}}, "fetch c", "no"},
		{"relayed to this machine", obtain(Fetch{Cache: "c", OnlyRelay: true}), fake{local: true}, "", "there is nothing to relay"},
		{"relayed where sudo wants a password", obtain(Fetch{Cache: "c", OnlyRelay: true}), fake{password: true}, "", "nothing can be relayed"},
		{"not signed for us", obtain(Fetch{Cache: "c", OnlyRelay: true}), fake{fails: map[string][]error{"download": {unsigned}}}, "download c 1m0s, signers, keys", "not accepted by this machine"},
		{"not signed for the host", obtain(Fetch{Cache: "c", OnlyRelay: true}), fake{fails: map[string][]error{"push": {unsigned}, "signers": {no}}}, "download c 1m0s, push host, signers", "no signature by a key that the host trusts"},

		{"a place on the host", check(microvm.BuildPlace{}), fake{}, "", ""},
		{"here", check(microvm.BuildPlace{Local: true}), fake{}, "store host", ""},
		{"here, for a host that doesn't trust us", check(microvm.BuildPlace{Local: true}), fake{distrust: true}, "store host", "does not trust the user"},
		{"here, where sudo wants a password", check(microvm.BuildPlace{Local: true}), fake{distrust: true, password: true}, "", ""},
		{"a builder", check(microvm.BuildPlace{Builder: &microvm.Address{Host: "b"}}), fake{}, "store host, store builder", ""},
		{"a builder without Nix", check(microvm.BuildPlace{Builder: &microvm.Address{Host: "b"}}), fake{fails: map[string][]error{"store": {nil, no}}}, "store host, store builder", "asking Nix on the builder b: no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.fake
			err := c.do(t.Context(), f.way())
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v", err)
			}
			if said := strings.Join(slices.Clone(f.said), ", "); said != c.said {
				t.Errorf("got  %s\nwant %s", said, c.said)
			}
		})
	}
}
