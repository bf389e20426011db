package cli

import (
	"strings"
	"testing"

	"ferry/internal/cmdline"
)

func TestUpdateBadInput(t *testing.T) {
	t.Chdir(t.TempDir()) // no flake to ask
	const hydra = " --hydra https://hydra.example.org/jobset/a/b"
	for _, c := range []struct{ args, want string }{
		{"update", "needs the names of VMs, or --all"},
		{"update web --all" + hydra, "needs the names of VMs, or --all"},
		{"update we/b" + hydra, "is not a valid VM name"},
		{"update web", "one source is needed"},
		{"update web --from x" + hydra, "one source is needed"},
		{"update web --from x --any-flake", "--any-flake works only with --hydra"},
		{"update web --hydra https://hydra.example.org", "is not the address of a jobset"},
		{"update web --hydra https://me:secret@hydra.example.org/jobset/a/b", "credentials"},
		{"update web --hydra ftp://x/jobset/a/b", "http"},
		{"update web --hydra http://127.0.0.1/jobset/a/b", "is not encrypted"},
		{"update web --from http://ci.example.org/built.json", "--allow-http"},
		{"host timer update server --on-calendar daily --from http://ci.example.org/built.json", "is not encrypted"},
		{"update web --allow-redirect x" + hydra, "--allow-redirect"},
		{"update web --relay sometimes" + hydra, "unknown --relay"},
		{"update web --relay always" + hydra, "--relay=always needs --cache"},
		{"update web --restart sometimes" + hydra, "unknown --restart"},
		{"update web db --target root@web" + hydra, "--target is for one VM"},
		{"update web --target local" + hydra, "never `local`"},
		{"update web --host a --host b" + hydra, "one --host"},
		{"update web --from-flake --cache https://c", "--from-flake builds itself"},
		{"update web --from-flake --host root@server", "--from-flake is for the host itself"},
		{"update web" + hydra, "the host of web is not known"},
		{"update web --cache https://c?trusted=1" + hydra, "`trusted`"},
		{"update web --cache https://me:secret@c" + hydra, "netrc-file"},
		{"update web --cache /nix/store" + hydra, "is not a binary cache"},
		{"update web --cache local" + hydra, "is not a binary cache"},
		{"update web --cache ssh-ng://-oProxyCommand=x" + hydra, "begins with `-`"},
		{"update web --stall-timeout 0" + hydra, "expected a time"},
		{"host timer", "timer needs a command"},
		{"host timer update", "HOST is missing"},
		{"host timer update server --on-calendar daily", "one source is needed"},
		{"host timer update server --from-flake", "--on-calendar"},
		{"host timer update server we/b --from-flake --on-calendar daily", "is not a valid VM name"},
		{"host timer update server --from built.json --on-calendar daily", "neither a URL nor an absolute path"},
		{"host timer flake-update server --on-calendar daily", "not an absolute path"},
		{"host timer flake-update server --on-calendar daily --repository infra", "not an absolute path"},
		{"host timer run", "accepts 1 arg"},
		{"host timer run nothing", "unknown timer"},
		{"host timer status a b", "accepts at most 1 arg"},
	} {
		code, out, errw := run(t, strings.Fields(c.args)...)
		if code != cmdline.ExitUsage || !strings.Contains(strings.ReplaceAll(errw, `"`, "`"), strings.ReplaceAll(c.want, `"`, "`")) || out != "" {
			t.Errorf("%s: exit code %d\n%s%s", c.args, code, errw, out)
		}
		if strings.Contains(errw, "secret") {
			t.Errorf("%s: a secret is shown: %s", c.args, errw)
		}
	}
}

// Http is one option away, for a run as for a timer.
func TestUpdateOverHTTP(t *testing.T) {
	t.Chdir(t.TempDir()) // no flake to ask
	const hydra = "http://hydra.example.org/jobset/a/b"
	for _, args := range []string{"update web --allow-http --hydra " + hydra, "update web --allow-http --from http://ci.example.org/built.json"} {
		if code, _, errw := run(t, strings.Fields(args)...); code != cmdline.ExitUsage || !strings.Contains(errw, "the host of web is not known") {
			t.Errorf("%s: exit code %d\n%s", args, code, errw)
		}
	}
}
