package nix_test

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/nix/nixtest"
)

// recordings are what versions of Nix have said, in nix-VERSION/QUESTION.json: all
// that ferry reads of Nix's output. test/e2e `TestNixSpeaksAsRecorded` compares them
// with what the real programs say, and records them.
//
//go:embed testdata
var recordings embed.FS

// recordedCall is one run of one of Nix's programs.
type recordedCall struct {
	Args   []string // the program's name first
	Stdout []string // lines
	Stderr []string
	Exit   int
}

// These places are in what Nix says, so they are the same in each recording.
const (
	recordedDir = "/tmp/ferry-recorded"
	theFlake    = recordedDir + "/flake"
	theCache    = "file://" + recordedDir + "/cache"
	noSuchPath  = microvm.StorePath("/nix/store/00000000000000000000000000000000-none")
)

// known is what earlier questions have told.
type known struct {
	drvs map[string]microvm.StorePath
	outs []microvm.StorePath // of ok, ok2, big and unsigned
}

// question is something that ferry asks Nix, and what must come out of the answer
// in all versions, in short.
type question struct {
	name string
	ask  func(ctx context.Context, n *nix.Nix, k *known) (any, error)
	want string
}

func questions() []question {
	eval := func(attribute string) func(context.Context, *nix.Nix, *known) (any, error) {
		return func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
			out, err := n.Eval(ctx, nix.EvalRequest{Installable: theFlake + "#" + attribute})
			return string(out), evalFailed(err)
		}
	}
	build := func(name string) func(context.Context, *nix.Nix, *known) (any, error) {
		return func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			_, err := n.Build(ctx, "", k.drvs[name])
			return nil, buildFailed(err)
		}
	}
	metadata := func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
		m, err := n.FlakeMetadata(ctx, theFlake, nil)
		return fmt.Sprintf("pinned %t, in the store %t, revision ends in -dirty %t", m.Pinned(), strings.HasPrefix(m.Path, "/nix/store/"), strings.HasSuffix(m.Revision(), "-dirty")), err
	}
	fetch := func(cache string, p func(*known) microvm.StorePath) func(context.Context, *nix.Nix, *known) (any, error) {
		return func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			err := n.Fetch(ctx, nix.FetchRequest{Cache: cache, Path: p(k), Stall: time.Second})
			var fe *nix.FetchError
			if !errors.As(err, &fe) {
				return nil, err
			}
			kinds := map[nix.FetchKind]string{nix.FetchUnknown: "unknown", nix.FetchUnsigned: "unsigned", nix.FetchMissing: "missing", nix.FetchUnreachable: "unreachable"}
			return kinds[fe.Kind] + " " + fe.Path.Name(), nil
		}
	}
	first := func(k *known) microvm.StorePath { return k.outs[0] }
	absent := func(*known) microvm.StorePath { return noSuchPath }
	return []question{
		{"version", func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
			v, err := n.Version(ctx)
			return nix.CheckVersion(v, "here") == nil, err
		}, "true"},
		{"store", func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
			info, err := n.Store(ctx, "", nil)
			return info.Trusted, err
		}, "true"},
		{"settings", func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
			s, err := n.Settings(ctx)
			return string(s["pure-eval"]) + " " + string(s["substituters"]), err
		}, "true []"},
		{"metadata-new-lock", metadata, "pinned true, in the store true, revision ends in -dirty true"},
		{"metadata", metadata, "pinned true, in the store true, revision ends in -dirty true"},
		{"archive", func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
			tree, err := n.FlakeArchive(ctx, theFlake, nil)
			_, there := tree.At([]string{"dep"})
			return fmt.Sprintf("%d paths, dep %t", len(tree.Paths()), there), err
		}, "2 paths, dep true"},
		{"eval", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			out, err := n.Eval(ctx, nix.EvalRequest{Installable: theFlake + "#.", Apply: "f: builtins.mapAttrs (_: d: d.drvPath) f.drvs"})
			if err == nil {
				err = json.Unmarshal(out, &k.drvs)
			}
			return len(k.drvs), err
		}, "8"},
		{"eval-undefined", eval("undefined"), "an evaluation failed: undefined variable 'pkg'"},
		{"eval-untracked", eval("untracked"), "an evaluation failed: missing.nix"},
		{"eval-no-flake", func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
			_, err := n.FlakeMetadata(ctx, recordedDir+"/empty", nil)
			return nil, evalFailed(err)
		}, "an evaluation failed: flake.nix"},
		{"eval-flake-untracked", func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
			_, err := n.FlakeMetadata(ctx, recordedDir+"/new", nil)
			return nil, evalFailed(err)
		}, "an evaluation failed: flake.nix"},
		{"build", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			var log bytes.Buffer
			n.Log = &log
			outs, err := n.Build(ctx, recordedDir+"/link", k.drvs["ok"], k.drvs["ok2"], k.drvs["big"], k.drvs["unsigned"])
			k.outs = outs
			return fmt.Sprintf("%s, said %t", names(outs), strings.Contains(log.String(), "ok> building ok")), err
		}, "ok-1.0 ok-2.0 big-1.0 unsigned-1.0, said true"},
		{"build-fails", build("outer"), "inner: builder failed with exit code 3 | line 30"},
		{"build-elsewhere", build("elsewhere"), "elsewhere: m68k-linux | another-platform"},
		{"build-wrong-hash", build("fixed"), "fixed: hash mismatch"},
		{"missing", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			missing, err := n.Missing(ctx, paths{k.outs[0], noSuchPath})
			return names(missing), err
		}, "none"},
		{"requisites", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			closure, err := n.Requisites(ctx, k.drvs["outer"])
			return names(closure), err
		}, "inner.drv outer.drv"},
		{"diff", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			lines, err := n.DiffClosures(ctx, k.outs[0], k.outs[1])
			return strings.Join(lines, "|"), err
		}, "ok: 1.0 → 2.0"},
		{"registration", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			var dump bytes.Buffer
			err := n.DumpRegistration(ctx, &dump, k.outs[0])
			if err == nil {
				_, err = nix.CheckRegistration(&dump, k.outs[0])
			}
			return "", err
		}, ""},
		{"signers", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			signers, err := n.Signers(ctx, theCache, k.outs[0])
			return signers, err
		}, "[recorded-1]"},
		{"trusted-keys", func(ctx context.Context, n *nix.Nix, _ *known) (any, error) {
			keys, err := n.TrustedKeys(ctx)
			return keys, err
		}, "[trusted-1]"},
		{"fetch-unsigned", fetch(theCache, func(k *known) microvm.StorePath { return k.outs[3] }), "unsigned unsigned-1.0"},
		{"fetch-missing", fetch(theCache, absent), "missing none"},
		{"fetch-unreachable", fetch("http://127.0.0.1:1", first), "unreachable ok-1.0"},
		{"copy-noisy", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			err := n.CopyDerivations(ctx, nix.CopyRequest{To: "ssh-ng://noisy", Derivations: paths{k.drvs["ok"]}})
			var noisy *nix.NoisyShellError
			return errors.As(err, &noisy), nil
		}, "true"},
		{"copy-full", func(ctx context.Context, n *nix.Nix, k *known) (any, error) {
			err := n.CopyPaths(ctx, nix.PathsRequest{To: recordedDir + "/full", Paths: k.outs[2:3]})
			var ce *nix.CommandError
			if !errors.As(err, &ce) {
				return nil, err
			}
			return ce.Section(), nil
		}, "disk-full"},
	}
}

func names(all []microvm.StorePath) string {
	var words []string
	for _, p := range all {
		words = append(words, p.Name())
	}
	return strings.Join(words, " ")
}

// evalFailed makes the error of an evaluation an answer in words: the end of it.
func evalFailed(err error) error {
	var failure *nix.EvalFailure
	if !errors.As(err, &failure) {
		return err
	}
	return &told{"an evaluation failed", strings.Join(failure.Stderr, "\n")}
}

func buildFailed(err error) error {
	var b *nix.BuildError
	if !errors.As(err, &b) {
		return err
	}
	words := b.Message + "\n" + string(b.Section())
	if len(b.LogTail) > 0 {
		words += "\n" + b.LogTail[len(b.LogTail)-1]
	}
	return &told{strings.TrimSuffix(b.Derivation.Name(), ".drv"), words}
}

// told is a failure that is the answer: it must contain certain words.
type told struct{ head, words string }

func (t *told) Error() string { return t.head + ": " + t.words }

// tells says why an answer is not as wanted.
func (q question) tells(answer any, err error) string {
	var failed *told
	if errors.As(err, &failed) {
		head, words, _ := strings.Cut(q.want, ": ")
		for word := range strings.SplitSeq(words, " | ") {
			// `builder failed with exit code 3` was `builder for '…' failed with …`.
			for part := range strings.SplitSeq(strings.Replace(word, "builder failed", "builder\x00failed", 1), "\x00") {
				if !strings.Contains(failed.words, strings.TrimSpace(part)) {
					return fmt.Sprintf("%q does not say %q", failed.words, part)
				}
			}
		}
		if failed.head != head {
			return fmt.Sprintf("%q, wanted %q", failed.head, head)
		}
		return ""
	}
	if got := fmt.Sprint(answer); err != nil || q.want == "" && got != "" || q.want != "" && got != q.want {
		return fmt.Sprintf("%q, %v, wanted %q", got, err, q.want)
	}
	return ""
}

// recordedVersions are those that there are recordings of.
func recordedVersions(t *testing.T) []string {
	t.Helper()
	dirs, err := fs.ReadDir(recordings, "testdata")
	if err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, d := range dirs {
		if v, ok := strings.CutPrefix(d.Name(), "nix-"); ok {
			versions = append(versions, v)
		}
	}
	return versions
}

func recorded(version, question string) ([]recordedCall, error) {
	data, err := recordings.ReadFile(path.Join("testdata", "nix-"+version, question+".json"))
	if err != nil {
		return nil, err
	}
	var calls []recordedCall
	return calls, json.Unmarshal(data, &calls)
}

// replay is a Nix that says what was recorded.
func replay(t *testing.T, calls []recordedCall) *nix.Nix {
	var script []nixtest.Call
	for _, c := range calls {
		script = append(script, nixtest.Call{Args: c.Args, Stdout: text(c.Stdout), Stderr: text(c.Stderr), Exit: c.Exit})
	}
	return nixtest.New(t, script...)
}

func text(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// All versions of Nix that were recorded are read alike.
func TestRecordedVersionsOfNix(t *testing.T) {
	versions := recordedVersions(t)
	if len(versions) < 2 {
		t.Fatalf("only these versions were recorded: %q", versions)
	}
	for _, v := range versions {
		t.Run(v, func(t *testing.T) { askAll(t, v, func(c recordedCall) recordedCall { return c }) })
	}
}

// A Nix that says more than any we know is read like those: other fields in its
// JSON, messages and events in between, more words in an error.
func TestNixFromTheFuture(t *testing.T) {
	for _, v := range recordedVersions(t) {
		t.Run(v, func(t *testing.T) { askAll(t, v, fromTheFuture) })
	}
}

func askAll(t *testing.T, version string, changed func(recordedCall) recordedCall) {
	var k known
	for _, q := range questions() {
		calls, err := recorded(version, q.name)
		if err != nil {
			t.Errorf("%s was not recorded: %v", q.name, err)
			continue
		}
		answered := t.Run(q.name, func(t *testing.T) {
			for i, c := range calls {
				calls[i] = changed(c)
			}
			answer, err := q.ask(t.Context(), replay(t, calls), &k)
			if problem := q.tells(answer, err); problem != "" {
				t.Error(problem)
			}
		})
		if !answered && (q.name == "eval" || q.name == "build") {
			t.FailNow() // the next questions are about what these tell
		}
	}
}

// fromTheFuture adds what no version says yet.
func fromTheFuture(c recordedCall) recordedCall {
	var v any
	if said := strings.Join(c.Stdout, "\n"); json.Unmarshal([]byte(said), &v) == nil && !slices.Contains(c.Args, "eval") {
		more, err := json.Marshal(withMore(v, ""))
		if err != nil {
			panic(err)
		}
		c.Stdout = []string{string(more)}
	}
	news := []string{
		"warning: this Nix is of the year 2040",
		`@nix {"action":"result","fields":["x",1],"id":1,"type":108}`,
		`@nix {"action":"start","fields":[],"id":2,"level":4,"parent":0,"text":"dreaming","type":999}`,
		"note: see 'nix explain E0042'",
	}
	said := slices.Clone(news)
	for i, line := range c.Stderr {
		said = append(said, line)
		last := i+1 == len(c.Stderr)
		switch {
		case strings.HasPrefix(line, "error:") && (last || !strings.HasPrefix(c.Stderr[i+1], " ")):
			said = append(said, "       Code: E0042")
		case !last && !strings.HasPrefix(line, " ") && !strings.HasPrefix(c.Stderr[i+1], " ") && line != "":
			said = append(said, news...)
		}
	}
	c.Stderr = said
	return c
}

// withMore puts a field into every object that is not a table of names.
func withMore(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			v[k] = withMore(inner, k)
		}
		if key != "nodes" && key != "inputs" {
			v["future"] = []any{1, map[string]any{"x": nil}}
		}
	case []any:
		for i, inner := range v {
			v[i] = withMore(inner, key)
		}
	}
	return v
}
