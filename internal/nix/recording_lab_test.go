//go:build lab

package nix_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ferry/internal/nix"
)

var recordTo = flag.String("record", "", "write what Nix says into this directory")

// What the real Nix says is read as the recordings are, and of a version that was
// recorded it is the same but for hashes and numbers.
func TestRecordedNix(t *testing.T) {
	real := realNix(t)
	version, err := real.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fixture(t)
	var k known
	for _, q := range questions() {
		answered := t.Run(q.name, func(t *testing.T) {
			before(t, q.name, &k)
			n, calls := recorder(t)
			answer, err := q.ask(t.Context(), n, &k)
			if problem := q.tells(answer, err); problem != "" {
				t.Error(problem)
			}
			now := calls()
			if *recordTo != "" {
				record(t, filepath.Join(*recordTo, "nix-"+version.String()), q.name, now)
				return
			}
			then, err := recorded(version.String(), q.name)
			if errors.Is(err, fs.ErrNotExist) {
				t.Logf("Nix %s was not recorded: go test -tags lab -run TestNixSpeaksAsRecorded ./test/e2e -update", version)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := shapeOf(now), shapeOf(then); got != want {
				t.Errorf("it says now:\n%s\nand said when it was recorded:\n%s", got, want)
			}
		})
		if !answered && (q.name == "eval" || q.name == "build") {
			t.FailNow() // the next questions are about what this one tells
		}
	}
}

// fixture makes the flake that is asked about, with an input, and a binary cache.
func fixture(t *testing.T) {
	if err := os.RemoveAll(recordedDir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("sh", "-c", "umount "+recordedDir+"/full; chmod -R u+w "+recordedDir+"; rm -rf "+recordedDir).Run()
	})
	t.Setenv("HOME", recordedDir+"/home")
	t.Setenv("NIX_CONFIG", "substituters =\ntrusted-public-keys = trusted-1:Uw1ZFzdMV8Nc2Yc0zhH9cfy7JbC0vQWb8uWxN0gJm2Y=\nexperimental-features = nix-command flakes")
	t.Setenv("PATH", recordedDir+"/bin:"+os.Getenv("PATH"))
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		file := filepath.Join(recordedDir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("flake/flake.nix", recordedFlake, 0o644)
	write("flake/broken.nix", "pkg.hello\n", 0o644)
	write("input/flake.nix", `{ outputs = _: { value = "dep"; }; }`, 0o644)
	write("empty/nothing", "", 0o644)
	write("new/flake.nix", "{ outputs = _: { }; }", 0o644) // git does not know it
	write("home/.gitconfig", "[user]\nname = ferry\nemail = ferry@example.org\n[init]\ndefaultBranch = main\n[safe]\ndirectory = *\n", 0o644)
	write("bin/ssh", "#!/bin/sh\necho 'Welcome to this machine!'\nexec cat >/dev/null\n", 0o755)
	t.Setenv("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
	t.Setenv("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
	for _, args := range [][]string{
		{"sh", "-euc", "for d in input flake; do cd " + recordedDir + "/$d; git init -q; git add .; git commit -qm x; done; git init -q " + recordedDir + "/new"},
		{"sh", "-euc", "echo 1 >" + theFlake + "/missing.nix"}, // git does not know it
		{"sh", "-euc", "cd " + recordedDir + "; nix-store --generate-binary-cache-key recorded-1 secret public"},
		{"sh", "-c", `for p in /nix/store/*-ok-1.0 /nix/store/*-ok-2.0 /nix/store/*-big-1.0 /nix/store/*-unsigned-1.0; do nix-store --delete $p; done >/dev/null 2>&1; :`},
		{"sh", "-euc", "mkdir " + recordedDir + "/full; mount -t tmpfs -o size=1m tmpfs " + recordedDir + "/full"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
}

const recordedFlake = `{
  inputs.dep.url = "git+file://` + recordedDir + `/input";
  outputs = { self, dep }:
    let
      derive = name: script: more: derivation ({
        inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ];
      } // more);
      inner = derive "inner" "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; exit 3" { };
    in
    {
      drvs = {
        inherit inner;
        ok = derive "ok-1.0" "echo building ok; echo 1 > $out" { };
        ok2 = derive "ok-2.0" "echo 2 > $out" { };
        big = derive "big-1.0" "i=0; while [ $i -lt 40000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890123; i=$((i+1)); done > $out" { };
        unsigned = derive "unsigned-1.0" "echo u > $out" { };
        outer = derive "outer" "echo > $out" { needs = inner; };
        elsewhere = derive "elsewhere" "echo > $out" { system = "m68k-linux"; };
        fixed = derive "fixed" "echo f > $out" {
          outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        };
      };
      undefined = import ./broken.nix;
      untracked = import ./missing.nix;
    };
}
`

// before is what has to be there for a question; it is none itself.
func before(t *testing.T, q string, k *known) {
	if q != "signers" {
		return
	}
	out, err := exec.Command("sh", "-euc", `nix store sign -k `+recordedDir+`/secret "$1"
nix copy --to "$3" "$1" "$2"
rm -f `+recordedDir+`/link*; nix-store --delete "$2"`, "sh", string(k.outs[0]), string(k.outs[3]), theCache).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// recorder is the real Nix behind programs that keep what it says; calls tells it.
func recorder(t *testing.T) (n *nix.Nix, calls func() []recordedCall) {
	dir := t.TempDir()
	path, err := exec.LookPath("nix")
	if err != nil {
		t.Fatal(err)
	}
	script := `#!/bin/sh
d=` + dir + `; i=0; while ! mkdir "$d/$i" 2>/dev/null; do i=$((i+1)); done
me=${0##*/}
for a in "$me" "$@"; do printf '%s\0' "$a"; done >"$d/$i/args"
` + filepath.Dir(path) + `/"$me" "$@" >"$d/$i/stdout" 2>"$d/$i/stderr"; code=$?
echo $code >"$d/$i/exit"
cat "$d/$i/stderr" >&2; cat "$d/$i/stdout"; exit $code
`
	for _, program := range []string{"nix", "nix-store", "nix-env"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &nix.Nix{Program: filepath.Join(dir, "nix")}, func() []recordedCall {
		var all []recordedCall
		for i := 0; ; i++ {
			read := func(name string) string {
				b, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(i), name))
				return string(b)
			}
			if read("args") == "" {
				return all
			}
			code, err := strconv.Atoi(strings.TrimSpace(read("exit")))
			if err != nil {
				t.Fatal(err)
			}
			c := recordedCall{
				Args:   strings.Split(strings.TrimSuffix(read("args"), "\x00"), "\x00"),
				Stdout: lines(read("stdout")), Stderr: lines(read("stderr")), Exit: code,
			}
			all = append(all, trimmed(t, c))
		}
	}
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// trimmed leaves, of a hundred settings, those that ferry reads or that are the
// same everywhere.
func trimmed(t *testing.T, c recordedCall) recordedCall {
	if !slices.Contains(c.Args, "config") || !slices.Contains(c.Args, "--json") {
		return c
	}
	var all, some map[string]json.RawMessage
	if err := json.Unmarshal([]byte(strings.Join(c.Stdout, "\n")), &all); err != nil {
		t.Fatal(err)
	}
	some = map[string]json.RawMessage{}
	for _, name := range []string{"pure-eval", "substituters", "trusted-public-keys", "allow-dirty"} {
		var setting map[string]any
		if err := json.Unmarshal(all[name], &setting); err != nil {
			t.Fatal(err)
		}
		setting["description"] = "…" // a part of Nix's manual
		text, err := json.Marshal(setting)
		if err != nil {
			t.Fatal(err)
		}
		some[name] = text
	}
	text, err := json.Marshal(some)
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout = []string{string(text)}
	return c
}

func record(t *testing.T, dir, question string, calls []recordedCall) {
	t.Helper()
	b, err := json.MarshalIndent(calls, "", " ")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, question+".json"), append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var volatile = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`features \{[^}]*\}`), "features {}"},
	{regexp.MustCompile(`recorded-1:[A-Za-z0-9+/=]+`), "SIGNATURE"},
	{regexp.MustCompile(`\bsha(256|1)[-:][A-Za-z0-9+/=]+`), "HASH"},
	{regexp.MustCompile(`\b[0-9a-df-np-sv-z]{32}-`), "HASH-"},
	{regexp.MustCompile(`\b[0-9a-f]{40}\b`), "COMMIT"},
	{regexp.MustCompile(`/tmp/Test[^/' ]*/[0-9]+`), "TEMPORARY"},
	{regexp.MustCompile(`[0-9]+`), "N"},
}

// shapeOf is what calls say without what may differ each time. The order of lines
// is the builders' own.
func shapeOf(calls []recordedCall) string {
	var said []string
	for _, c := range calls {
		var v any
		words := c.Stdout
		if json.Unmarshal([]byte(strings.Join(c.Stdout, "\n")), &v) == nil {
			words = fields(v, "")
		}
		var all []string
		for _, line := range slices.Concat(words, c.Stderr) {
			for _, x := range volatile {
				line = x.pattern.ReplaceAllString(line, x.instead)
			}
			all = append(all, line)
		}
		slices.Sort(all)
		said = append(said, fmt.Sprintf("exit %d", c.Exit))
		said = append(said, slices.Compact(all)...)
	}
	return strings.Join(said, "\n")
}

// fields are the places in a JSON value, with the type of what is there.
func fields(v any, at string) []string {
	var all []string
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			all = append(all, fields(inner, at+"."+k)...)
		}
	case []any:
		for _, inner := range v {
			all = append(all, fields(inner, at+"[]")...)
		}
	default:
		all = append(all, fmt.Sprintf("%s %T", at, v))
	}
	return all
}
