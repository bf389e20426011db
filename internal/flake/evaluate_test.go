package flake

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/nix/nixtest"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

func nixArgs(args ...string) []string {
	return append([]string{"nix", "--extra-experimental-features", "nix-command flakes"}, args...)
}

func versionCall(version string) nixtest.Call {
	return nixtest.Call{Args: []string{"nix", "--version"}, Stdout: "nix (Nix) " + version + "\n"}
}

func metadataCall(narHash string, options ...string) nixtest.Call {
	return nixtest.Call{
		Args: append(nixArgs("flake", "metadata", "--json"), append(options, "--", ".")...),
		Stdout: fmt.Sprintf(`{"url":"git+file:///x?rev=abc","path":"/p","locked":{"rev":"abc","narHash":%q},"locks":{"root":"root","nodes":{"root":{}}}}`,
			narHash),
		Stderr: "warning: Git tree '/x' is dirty\n",
	}
}

func settingsCall() nixtest.Call {
	return nixtest.Call{Args: nixArgs("config", "show", "--json"), Stdout: `{"pure-eval":{"value":true}}`}
}

func evalCall(out string, options ...string) nixtest.Call {
	return nixtest.Call{
		Args: append(append(nixArgs("eval", "--json", "--show-trace"), options...), "--apply", nixtest.Any, "--", ".#."), Stdout: out,
		Stderr: "warning: Git tree '/x' is dirty\n",
	}
}

const (
	runnerDrv = "/nix/store/00000000000000000000000000000000-runner.drv"
	webOutput = `{"vms":{"web":{"record":{"name":"web","runner":{"drv":"` + runnerDrv + `"}}}},"ferry":{"vms":{"web":{"tags":["x"]}}}}`
)

func TestEvaluateWithoutCache(t *testing.T) {
	n := nixtest.New(t, versionCall("2.26.3"), metadataCall("sha256-A"), evalCall(webOutput))
	var log bytes.Buffer
	n.Log = &log
	got, err := (&Evaluator{Nix: n}).Evaluate(t.Context(), Source{}, "web")
	if err != nil {
		t.Fatal(err)
	}
	if got.Record.Runner.Drv != runnerDrv || got.Cached || got.Revision != "abc" || got.URL != "git+file:///x?rev=abc" {
		t.Errorf("%+v", got)
	}
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "tags") || len(got.Fleet.VMs["web"].Tags) != 1 {
		t.Errorf("%q, %+v", got.Warnings, got.Fleet)
	}
	if log.String() != "warning: Git tree '/x' is dirty\n" {
		t.Errorf("what two commands say is to be logged once: %q", log.String())
	}
}

func cacheFiles(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "evaluations", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// The fleet has no .drv files, so that its cache works without a store.
func TestFleetIsCached(t *testing.T) {
	dir := t.TempDir()
	out := `{"vms":{},"ferry":{"hosts":{"h":{"address":"a"}}}}`
	first := nixtest.New(t, versionCall("2.26.3"), metadataCall("sha256-A"), settingsCall(),
		evalCall(out), versionCall("2.26.3"), metadataCall("sha256-A"), settingsCall())
	again := nixtest.New(t, versionCall("2.26.3"), metadataCall("sha256-A"), settingsCall()) // and no nix eval
	for _, n := range []*nix.Nix{first, again} {
		fleet, _, err := (&Evaluator{Nix: n, CacheDir: dir}).Fleet(t.Context(), Source{Ref: "."})
		if err != nil || fleet.Hosts["h"].Address.Host != "a" {
			t.Errorf("%+v, %v", fleet, err)
		}
	}
}

func TestMissingDerivationIsAMiss(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // no file of that name is in any store
		n := nixtest.New(t, versionCall("2.26.3"), metadataCall("sha256-A"), settingsCall(),
			evalCall(webOutput), versionCall("2.26.3"), metadataCall("sha256-A"), settingsCall())
		got, err := (&Evaluator{Nix: n, CacheDir: dir}).Evaluate(t.Context(), Source{}, "web")
		if err != nil || got.Cached || len(got.Warnings) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if n := cacheFiles(t, dir); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestImpureIsNeverCached(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		n := nixtest.New(t, versionCall("2.26.3"), metadataCall("sha256-A", "--impure"), settingsCall(), evalCall(`{"vms":{}}`, "--impure"))
		if _, _, err := (&Evaluator{Nix: n, CacheDir: dir}).Fleet(t.Context(), Source{Options: []string{"--impure"}}); err != nil {
			t.Error(err)
		}
	}
	if n := cacheFiles(t, dir); n != 0 {
		t.Errorf("%d files", n)
	}
}

// A file saved while Nix evaluates would give the old content's key the new
// content's result.
func TestChangeDuringEvaluationIsNotCached(t *testing.T) {
	dir := t.TempDir()
	// The fake answers the first fitting call first: the second look sees B. Both
	// looks run in order, so the claims are in order too.
	n := nixtest.New(t, versionCall("2.26.3"), metadataCall("sha256-A"), settingsCall(),
		evalCall(`{"vms":{}}`), versionCall("2.26.3"), metadataCall("sha256-B"), settingsCall())
	if _, _, err := (&Evaluator{Nix: n, CacheDir: dir}).Fleet(t.Context(), Source{}); err != nil {
		t.Error(err)
	}
	if n := cacheFiles(t, dir); n != 0 {
		t.Errorf("%d files", n)
	}
}

func TestEvaluateErrors(t *testing.T) {
	evaluate := func(t *testing.T, out string) (*Evaluation, error) {
		n := nixtest.New(t, versionCall("2.26.3"), metadataCall("sha256-A"), evalCall(out))
		return (&Evaluator{Nix: n}).Evaluate(t.Context(), Source{}, "web")
	}
	t.Run("unknown VM", func(t *testing.T) {
		_, err := evaluate(t, `{"vms":{"web":{"missing":["db","webb"]}},"ferry":null}`)
		var unknown *UnknownVMError
		if !errors.As(err, &unknown) || len(unknown.Existing) != 2 || unknown.Name != "web" {
			t.Errorf("%#v", err)
		}
	})
	t.Run("no runner", func(t *testing.T) {
		_, err := evaluate(t, `{"vms":{"web":{"obstacle":"it does not define config.microvm.declaredRunner"}},"ferry":null}`)
		var none *NoRunnerError
		if !errors.As(err, &none) || !strings.Contains(err.Error(), "nixosConfigurations.web of flake . is not a MicroVM: it does not define") {
			t.Errorf("%#v", err)
		}
	})
	t.Run("broken system", func(t *testing.T) {
		got, err := evaluate(t, `{"vms":{"web":{"record":{"name":"web","runner":{"drv":"`+runnerDrv+`"}},"brokenSystem":true}},"ferry":null}`)
		if err != nil || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "toplevel") {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("schema", func(t *testing.T) {
		_, err := evaluate(t, strings.Replace(webOutput, "tags", "tagz", 1))
		var schema *SchemaError
		if !errors.As(err, &schema) || !strings.Contains(err.Error(), "the flake's output ferry.vms.web.tagz is not a known key (did you mean `tags`?)") {
			t.Errorf("%v", err)
		}
	})
	for name, out := range map[string]string{
		"no JSON": "x", "no such VM": `{"vms":{}}`, "a path outside the store": `{"vms":{"web":{"record":{"name":"web","runner":{"drv":"/etc/passwd"}}}}}`,
		"no derivation": `{"vms":{"web":{"record":{"name":"web","runner":{"drv":"` + strings.TrimSuffix(runnerDrv, ".drv") + `"}}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := evaluate(t, out); err == nil {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestNixFails(t *testing.T) {
	failing := func(c nixtest.Call, stderr string) nixtest.Call {
		c.Stdout, c.Stderr, c.Exit = "", stderr, 1
		return c
	}
	for _, c := range []struct {
		name  string
		calls []nixtest.Call
	}{
		{"metadata", []nixtest.Call{versionCall("2.26.3"), failing(metadataCall(""), "warning: hm\nerror: no flake\n       at all\n")}},
		{"eval", []nixtest.Call{versionCall("2.26.3"), metadataCall("sha256-A"), failing(evalCall(""), "warning: hm\nerror: no flake\n       at all\n")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := nixtest.New(t, c.calls...)
			var log bytes.Buffer
			n.Log = &log
			_, err := (&Evaluator{Nix: n}).Evaluate(t.Context(), Source{}, "web")
			var failed *EvalError
			if !errors.As(err, &failed) || failed.Message != "no flake\nat all" {
				t.Errorf("%#v", err)
			}
			if strings.Contains(log.String(), "no flake") || strings.Contains(log.String(), "at all") || !strings.Contains(log.String(), "warning: hm\n") {
				t.Errorf("the error is to be told once, not in the log too: %q", log.String())
			}
		})
	}
}

// An old Nix fails in ways that nobody understands; its version is the news.
func TestOldNix(t *testing.T) {
	metadata := metadataCall("")
	metadata.Stdout, metadata.Stderr, metadata.Exit = "", "error: unrecognised flag\n", 1
	n := nixtest.New(t, versionCall("2.8.0"), metadata)
	_, err := (&Evaluator{Nix: n}).Evaluate(t.Context(), Source{}, "web")
	var old *nix.VersionError
	if !errors.As(err, &old) {
		t.Errorf("%v", err)
	}
}

func TestBadInputRunsNothing(t *testing.T) {
	e := &Evaluator{Nix: nixtest.New(t)}
	for _, c := range []struct{ ref, name string }{{"--expr", "web"}, {".#x", "web"}, {".", "-web"}, {".", `a"b`}, {".", ""}} {
		if _, err := e.Evaluate(t.Context(), Source{Ref: c.ref}, microvm.Name(c.name)); err == nil {
			t.Errorf("%+v was evaluated", c)
		}
	}
	if _, err := os.Stat("flake.lock"); err == nil {
		t.Error("something ran here")
	}
}
