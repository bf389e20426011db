//go:build lab

package e2e

import (
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// Passwords and tokens that a user gives to Nix in a flake's URL and in options.
const (
	urlPassword = "hunter2-in-the-url"
	queryToken  = "hunter3-in-the-query"
	forgeToken  = "hunter4-for-a-forge"
)

// nowhere fails the test if one of the texts is in a file that ferry, Nix or
// systemd keeps. (They stand on the command line of ferry itself, and so in those
// of Nix, as long as these run: the user has put them there.)
func nowhere(t *testing.T, machines []*lab.Machine, texts ...string) {
	t.Helper()
	for _, m := range machines {
		for _, text := range texts {
			pattern := "[" + text[:1] + "]" + text[1:]
			files := output(t, m, "sh", "-c", `grep -rlsa -- "$1" /var/lib/ferry /var/lib/microvms /nix/var/nix/gcroots /nix/var/nix/profiles /root/.cache/ferry /root/.local/state/ferry /root/.ssh /tmp /run/ferry /var/log /etc 2>/dev/null
find /nix/store -maxdepth 1 -newer /run/secrets-begin -exec grep -rlsa -- "$1" {} +
journalctl -q --no-pager | grep -a -- "$1" || :`, "sh", pattern)
			if files != "" {
				t.Errorf("%s: %s is in: %.2000s", m.Name, text, files)
			}
		}
	}
}

// Issue 4, point 7: what a user gives to reach a flake is in no history, note,
// log, cache or output.
func TestSecretsOfFlakes(t *testing.T) {
	in := newInfra(t, "", map[string]string{"secret": vmModule("secret")})
	machines := []*lab.Machine{world.operator, world.host2}
	for _, m := range machines {
		output(t, m, "touch", "/run/secrets-begin")
	}
	during(t, world.operator, `mkdir -p /run/www && tar -C `+in.dir+` --exclude=.git -czf /run/www/flake.tar.gz . && systemd-run -q --unit=www busybox httpd -f -p 127.0.0.1:8099 -h /run/www`,
		"systemctl stop www; rm -r /run/www")
	url := "http://alice:" + urlPassword + "@127.0.0.1:8099/flake.tar.gz?access_token=" + queryToken
	options := []string{"--flake", url, "--option", "access-tokens", "git.example.org=" + forgeToken, "-v"}
	printed := func(r *ran) *ran {
		t.Helper()
		return r.without(urlPassword).without(queryToken).without(forgeToken)
	}
	printed(in.ferry(append([]string{"rebuild", "secret", "root@host2"}, options...)...)).want(0, "secret: started")
	printed(in.ferry("history", "secret", "--host", "root@host2", "--json")).want(0, "alice:REDACTED@127.0.0.1:8099")
	printed(in.ferry("list", "root@host2", "--json"))

	// What fails, and says so with Nix's command line and Nix's own words.
	during(t, world.operator, "mv /run/www/flake.tar.gz /run/www/flake.off", ":")
	r := printed(in.ferry(append([]string{"rebuild", "secret", "root@host2", "--option", "tarball-ttl", "0", "--refresh"}, options...)...))
	if r.code == 0 || !strings.Contains(r.stderr, "127.0.0.1:8099") {
		t.Errorf("it should have failed, and said where: %s", r)
	}
	output(t, world.operator, "mv", "/run/www/flake.off", "/run/www/flake.tar.gz")
	// A flake whose evaluation fails names its own URL.
	printed(in.ferry(append([]string{"rebuild", "nobody", "root@host2"}, options...)...)).want(1)
	// A reference with a password does not go where everybody can read it.
	printed(in.ferry("rebuild", "secret", "root@host2", "--update-flake", "git+https://alice:"+urlPassword+"@git.example.org/infra")).want(2, "password", "netrc-file")
	nowhere(t, machines, urlPassword, queryToken, forgeToken)
}

// The password of sudo is passed on and kept nowhere, also when the deployment
// fails. (That no process has it: TestSudoPasswordIsAskedOnceAndPassedOn.)
func TestSudoPasswordIsKeptNowhere(t *testing.T) {
	in := newInfra(t, "", map[string]string{"sudosecret": vmModule("sudosecret")})
	machines := []*lab.Machine{world.operator, world.host2}
	for _, m := range machines {
		output(t, m, "touch", "/run/secrets-begin")
	}
	secret := watchForPassword(t, world.host2)
	in.typing(1, "rebuild", "sudosecret", "admin@host2", "--host-sudo", "-v").want(0, "started")
	in.write("sudosecret.nix", vmModule("sudosecret", "lab.buildFails = true;"))
	in.typing(1, "rebuild", "sudosecret", "admin@host2", "--host-sudo", "-v").want(1)
	secret()
	nowhere(t, machines, lab.AdminPassword)
	in.write("sudosecret.nix", vmModule("sudosecret"))
	in.deploy(result.OutcomeUnchanged, "rebuild", "sudosecret", "root@host2")
	for _, path := range []string{"/var/lib/ferry", "/var/lib/ferry/vms", "/var/lib/ferry/vms/sudosecret", "/var/lib/ferry/locks"} {
		if got := output(t, world.host2, "stat", "-c", "%U %a", path); got != "root 700" && got != "root 755" || path == "/var/lib/ferry" && got != "root 700" {
			t.Errorf("%s is %s", path, got)
		}
	}
}
