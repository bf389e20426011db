package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ferry/internal/completion"
	"ferry/internal/remembered"
)

// A completion starts its own program to evaluate: here, this one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == completion.RenewName {
		os.Exit(Main(os.Args))
	}
	os.Exit(m.Run())
}

// desk is a directory with a flake, and a Nix that notes its calls.
type desk struct {
	t                *testing.T
	dir, bin, called string
}

const fleet = `{"hosts":{"host1":"root@host1","host2":"ssh://root@h2:22"},"configurations":[],
"vms":{"web":{"host":"host1","target":"root@web.example.com","tags":["prod","a\tb\u001b[31m\nc"]},"db":{"host":null,"target":null,"tags":[]}}}`

func newDesk(t *testing.T) *desk {
	t.Helper()
	root := t.TempDir()
	d := &desk{t: t, dir: filepath.Join(root, "flake"), bin: filepath.Join(root, "bin"), called: filepath.Join(root, "called")}
	d.write(filepath.Join(d.dir, "flake.nix"), "{ }")
	d.write(filepath.Join(d.dir, "flake.lock"), `{"root":"root","nodes":{"root":{"inputs":{"nixpkgs":"n","microvm":["a"],"$(x)":"x"}}}}`)
	d.write(filepath.Join(d.bin, "nix"), "#!/bin/sh\necho called >>'"+d.called+"'\ncat <<'END'\n"+fleet+"\nEND\n")
	t.Setenv("PATH", d.bin+":/usr/bin:/bin")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(root, "cache"))
	t.Setenv("XDG_STATE_HOME", filepath.Join(root, "state"))
	t.Chdir(d.dir)
	return d
}

func (d *desk) write(file, content string) {
	d.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o755)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) calls() int {
	said, _ := os.ReadFile(d.called)
	return strings.Count(string(said), "called")
}

// complete yields what is offered for the last word, without descriptions, and the
// directive to the shell.
func complete(t *testing.T, words ...string) (offered []string, directive string) {
	t.Helper()
	code, out, errs := run(t, append([]string{cobra.ShellCompRequestCmd}, words...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || strings.Contains(errs, "rror") {
		t.Errorf("%q: exit code %d: %s", words, code, errs)
	}
	for _, l := range lines[:len(lines)-1] {
		word, _, _ := strings.Cut(l, "\t")
		offered = append(offered, word)
	}
	return offered, lines[len(lines)-1]
}

const (
	noFiles = ":36" // and in this order
	dirs    = ":16"
	anyFile = ":0"
)

func TestCompletionOffersWhatFits(t *testing.T) {
	d := newDesk(t)
	if err := (remembered.Store{Dir: remembered.DefaultDir()}).Keep("20261122T024710-12b4f3", map[string]string{"attribute": "web", "host": "root@host1"}); err != nil {
		t.Fatal(err)
	}
	const actions = " switch boot test dry-activate"
	for line, want := range map[string]string{
		"rebuild ":                                    "db web",
		"rebuild -f . ":                               "db web",
		"rebuild --override-input nixpkgs /x ":        "db web",
		"rebuild web ":                                "root@host1 ssh://root@h2:22 local" + actions,
		"rebuild web root@host1 ":                     "root@web.example.com" + actions,
		"rebuild db root@host1 ":                      "root@web.example.com" + actions,
		"rebuild web root@host1 root@web ":            strings.TrimSpace(actions),
		"rebuild web boot ":                           "root@host1 ssh://root@h2:22 local",
		"rebuild web root@host1 root@web boot ":       "",
		"install web ":                                "root@host1 ssh://root@h2:22 local",
		"install web local ":                          "",
		"switch web ":                                 "root@web.example.com switch test dry-activate",
		"start ":                                      "db web",
		"stop web ":                                   "",
		"logs web --host ":                            "host1 host2 local",
		"ssh --host=root@":                            "root@host1 ssh://root@h2:22 local",
		"rollback web --target ":                      "root@web.example.com",
		"autostart web ":                              "on off",
		"attach ":                                     "db web 20261122T024710-12b4f3",
		"attach web ":                                 "20261122T024710-12b4f3",
		"update web ":                                 "db",
		"update web --host host1 --host ":             "host1 host2 local",
		"list host1 ":                                 "host2 local",
		"flake-update ":                               "microvm nixpkgs",
		"rebuild --override-input ":                   "microvm nixpkgs",
		"rebuild web --name ":                         "db web",
		"host setup ":                                 "host1 host2 local",
		"host timer update ":                          "host1 host2 local",
		"host timer update host1 ":                    "db web",
		"host timer update host1 --restart ":          "auto if-needed always never",
		"update web --relay ":                         "auto always never",
		"rebuild web --log-format ":                   "bar bar-with-logs internal-json multiline multiline-with-logs raw",
		"rebuild web --flake /nonexistent --restart=": "auto if-needed always never",
		"rebuild -f /nonexistent ":                    "",
	} {
		got, directive := complete(t, strings.Split(line, " ")...)
		if strings.Join(got, " ") != want || directive != noFiles && directive != ":4" {
			t.Errorf("ferry %s: %q and %s, wanted %q and no files", line, got, directive, want)
		}
	}
	if n := d.calls(); n != 1 {
		t.Errorf("Nix was called %d times, wanted once", n)
	}
}

func TestCompletionOffersFilesWhereOneIsWanted(t *testing.T) {
	newDesk(t)
	for line, want := range map[string]string{
		"rebuild web --netrc-file ": anyFile, "update web --from ": anyFile,
		"rebuild --flake ": dirs, "rebuild --override-input nixpkgs ": dirs,
		"rebuild web --option ": ":4", "update --cache ": ":4", "version ": ":4",
	} {
		if got, directive := complete(t, strings.Split(line, " ")...); len(got) > 0 || directive != want {
			t.Errorf("ferry %s: %q and %s, wanted %s", line, got, directive, want)
		}
	}
}

func TestDescriptionsAreHarmless(t *testing.T) {
	newDesk(t)
	_, out, _ := run(t, cobra.ShellCompRequestCmd, "rebuild", "")
	if want := "db\nweb\ton host1; tags: prod, a b"; !strings.HasPrefix(out, want) || strings.Contains(out, "\x1b") {
		t.Errorf("%q, wanted %q", out, want)
	}
}

func TestCompletionWithoutNixOrFlakeIsSilent(t *testing.T) {
	d := newDesk(t)
	if err := os.Remove(filepath.Join(d.bin, "nix")); err != nil {
		t.Fatal(err)
	}
	if got, _ := complete(t, "rebuild", ""); len(got) > 0 {
		t.Errorf("%q", got)
	}
	t.Chdir(t.TempDir())
	if got, _ := complete(t, "rebuild", ""); len(got) > 0 {
		t.Errorf("%q", got)
	}
	if got, _ := complete(t, "rebuild", "web", ""); !slices.Contains(got, "dry-activate") {
		t.Errorf("%q", got)
	}
}

// Whoever adds a command or an option decides what it offers.
func TestEachArgumentAndValueIsDecided(t *testing.T) {
	// Nobody can know these.
	free := strings.Fields(`option override-flake extra-experimental-features update-flake check-tcp check-http
		check-command confirm-timeout activation-limit wait lines branch push repository to cache hydra
		allow-redirect stall-timeout fetch-limit on-calendar randomized-delay except
		arg argstr timeout`)
	arguments := strings.Fields("host/probe host/virtiofsd host/vsock-proxy host/timer/run") // on a host; the last has fixed ones
	eachCommand(newRoot(), func(path []string, cmd *cobra.Command) {
		_, takes, _ := strings.Cut(cmd.Use, " ")
		if takes != "" && cmd.ValidArgsFunction == nil && !slices.Contains(arguments, strings.Join(path, "/")) {
			t.Errorf("%v takes %s and offers nothing: add it to internal/completion", path, takes)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			_, decided := cmd.GetFlagCompletionFunc(f.Name)
			if f.Value.Type() != "bool" && !decided && !slices.Contains(free, f.Name) {
				t.Errorf("%v: --%s takes a value and offers none: add it to internal/completion, or here", path, f.Name)
			}
		})
	})
}

func TestScriptsForThreeShells(t *testing.T) {
	for _, s := range completion.Shells() {
		if code, out, errs := run(t, "completion", s.Name); code != 0 || errs != "" || out != string(s.Script(newRoot())) || !strings.Contains(out, "__complete") {
			t.Errorf("%s: exit code %d, %s", s.Name, code, errs)
		}
	}
	for _, wrong := range [][]string{{"completion"}, {"completion", "powershell"}, {"completion", "bash", "x"}} {
		if code, _, errs := run(t, wrong...); code != 2 || !strings.Contains(errs, "hint: ") {
			t.Errorf("%q: exit code %d: %s", wrong, code, errs)
		}
	}
}
