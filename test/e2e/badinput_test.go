//go:build lab

package e2e

import (
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// badInput is a command that ferry must refuse with one clear message, the next
// step and an exit code, without changing any machine.
type badInput struct {
	name  string
	args  string   // split at blanks
	code  int      // of the README
	wants []string // in the output
}

func (in *infra) refuses(cases []badInput) {
	in.t.Helper()
	for _, c := range cases {
		in.t.Run(c.name, func(t *testing.T) {
			here := *in
			here.t = t
			unchanged(t, func() {
				r := here.ferry(strings.Fields(c.args)...).want(c.code, c.wants...)
				if n := r.errors(); n != 1 {
					t.Errorf("%d errors: %s", n, r)
				}
				for _, bad := range []string{"panic", "goroutine ", "unbound variable", "exit status 255", "exit code 255"} {
					r.without(bad)
				}
			})
		})
	}
}

// errors counts ferry's error messages.
func (r *ran) errors() int { return strings.Count("\n"+r.stderr, "\nerror: ") }

const hint = "hint: "

// A VM that runs and could be switched live; each command has one thing wrong.
func TestBadInput(t *testing.T) {
	in, vm := newLive(t, "bad")
	in.write("bad.nix", liveModule("bad", "second"))
	first := vm.link("current")
	const done = "bad: nothing was changed"
	long := strings.Repeat("x", 65)
	in.refuses([]badInput{
		{"no arguments", "", 2, []string{"Usage:", "no command given", hint}},
		{"rebuild", "rebuild", 2, []string{"rebuild needs the name of a VM", hint + "usage: ferry rebuild NAME"}},
		{"install", "install", 2, []string{"install needs the name of a VM", hint + "usage: ferry install NAME"}},
		{"switch", "switch", 2, []string{"switch needs the name of a VM", hint + "usage: ferry switch NAME"}},
		{"unknown command", "rebiuld bad", 2, []string{`unknown command "rebiuld"`, "did you mean `rebuild`?", hint}},
		{"unknown option", "rebuild bad --restrat=always", 2, []string{"--restrat", hint + "ferry rebuild --help"}},

		{"unknown VM", "rebuild bda", 1, []string{"has no nixosConfigurations.bda", "did you mean `bad`?", "there are: bad", hint}},
		{"VM name with a slash", "rebuild ../bad", 2, []string{"is not a valid VM name", hint}},
		{"VM name with a dollar", "rebuild $(reboot)", 2, []string{"is not a valid VM name", hint}},
		{"VM name too long", "rebuild " + long, 2, []string{"at most 64", hint}},
		{"VM name that is an option", "rebuild -- -bad", 2, []string{"is not a valid VM name", hint}},
		{"--name outside the grammar", "rebuild bad --name a/b", 2, []string{"is not a valid VM name", hint}},

		{"address that is an option", "rebuild bad -oProxyCommand=true", 2, []string{"unknown shorthand flag", hint}},
		{"address with a dash", "rebuild bad -- -oProxyCommand=true", 2, []string{"-oProxyCommand=true", "address", hint}},
		{"host with a dash", "rebuild bad root@-oProxyCommand=true", 2, []string{"address", hint}},
		{"target with a dash", "rebuild bad root@host1 -- -oProxyCommand=true", 2, []string{"address", hint}},
		{"too many arguments", "rebuild bad root@host1 root@box frobnicate", 2, []string{"too many arguments", hint + "usage:"}},
		{"two actions", "rebuild bad switch test", 2, []string{"more than one action: switch and test", hint}},
		{"action of another command", "install bad test", 2, []string{"install does not take the action test", hint}},
		{"unknown --restart", "rebuild bad --restart=sometimes", 2, []string{"sometimes", "auto, if-needed, always, never"}},
		{"--option without a value", "rebuild bad --option cores", 2, []string{"--option needs two values", hint}},

		{"host name that does not resolve", "rebuild bad root@nowhere.invalid", 1, []string{"cannot be reached", "Could not resolve", "`ssh root@nowhere.invalid`", done}},
		{"connection refused", "rebuild bad ssh://root@host1:9", 1, []string{"cannot be reached", "refused", "`ssh -p 9 root@host1`", done}},
		{"host is down", "rebuild bad root@down", 1, []string{"cannot be reached", hint, done}},
		{"unknown host key", "rebuild bad root@unknown-host1", 1, []string{"its host key is not known yet", hint + "connect once with `ssh root@unknown-host1`", done}},
		{"unknown user", "rebuild bad nobody@host1", 1, []string{"login refused", hint + "try `ssh nobody@host1`", done}},
		{"not root", "rebuild bad nosudo@host1", 1, []string{"the login is not root's", hint, "--host-sudo", done}},
		{"no right to sudo", "rebuild bad nosudo@host1 --host-sudo", 1, []string{"no root:", hint, done}},
		{"guest down", "rebuild bad root@host1 root@down", 1, []string{"the guest at root@down can't be reached", "--restart=always", done}},
		{"unknown host key of the target", "rebuild bad root@host1 root@unknown-host1", 1, []string{"its host key is not known yet", done}},
		{"target without root", "rebuild bad root@host1 deploy@box", 1, []string{"not root", "--target-sudo", done}},
		{"target without sudo", "rebuild bad root@host1 nosudo@box --target-sudo", 1, []string{"no root:", hint, done}},
		{"another machine as the target", "rebuild bad root@host1 root@host2", 1, []string{`calls itself "host2"`, `configured as "bad"`, hint, done}},
		{"update flake on the operator only", "rebuild bad --update-flake .", 2, []string{"--update-flake", hint}},
		{"no flake", "rebuild bad --flake /srv", 1, []string{"/srv", hint}},
	})
	if vm.link("current") != first {
		t.Error("`current` moved")
	}
	// Found before anything was shipped: the host does not even know the new
	// derivation.
	drv := strings.Fields(in.op("nix", "eval", "--raw", in.dir+"#nixosConfigurations.bad.config.microvm.declaredRunner.drvPath"))
	if r, err := world.host1.Output(t.Context(), "ls", drv[0]); err == nil {
		t.Errorf("shipped: %s", r)
	}

	in.write("flake.nix", strings.Replace(in.read("flake.nix"), `target = "root@box";`, "", 1))
	in.refuses([]badInput{
		{"no target", "rebuild bad", 2, []string{"can be switched while it runs, but the address of its system is not known", "ferry.vms.bad.target", "--restart=always", done}},
		{"switch without a target", "switch bad", 2, []string{"the target of bad is not known", "ferry.vms.bad.target", done}},
	})
	in.write("flake.nix", strings.Replace(in.read("flake.nix"), `vms.bad = { host = "host1";`, `vms.bad = { hots = "host1";`, 1))
	in.refuses([]badInput{{"unknown key in the ferry output", "rebuild bad", 1, []string{"ferry.vms.bad.hots", "did you mean `host`?", hint}}})
	in.write("flake.nix", strings.Replace(in.read("flake.nix"), `vms.bad = { hots = "host1";`, `vms.bad = {`, 1))
	in.refuses([]badInput{{"no host", "rebuild bad", 2, []string{"the host of bad is not known", "ferry.vms.bad.host"}}})
	in.write("flake.nix", "{ outputs = { self }: { nixosConfigurations.bad = ; }; }")
	in.refuses([]badInput{{"syntax error", "rebuild bad", 1, []string{"syntax error", "flake.nix:1:"}}})
}

// Configurations that are wrong.
func TestBadConfigurations(t *testing.T) {
	in := newInfra(t, "", map[string]string{
		"evalerr": vmModule("evalerr", `services.page.enable = true;`, `services.page.text = throw "no sensible text";`),
		"fails":   vmModule("fails", "lab.buildFails = true;"),
		"noshare": vmModule("noshare", `microvm.shares = [{ tag = "data"; source = "/srv/nowhere"; mountPoint = "/data"; }];`),
	})
	in.write("flake.nix", strings.Replace(in.read("flake.nix"), "nixosConfigurations = {",
		`nixosConfigurations = { norunner = microvm.lib.nixosSystem { module = { networking.hostName = "norunner"; }; };`, 1))
	in.refuses([]badInput{
		{"evaluation error", "rebuild evalerr root@host1", 1, []string{"no sensible text", "evalerr.nix:", hint}},
		{"no runner", "rebuild norunner root@host1", 1, []string{"config.microvm.declaredRunner", "microvm.nixosModules.microvm"}},
		{"share sources missing", "rebuild noshare root@host1", 1, []string{"share sources are missing on root@host1: /srv/nowhere", hint, "nothing was changed"}},
	})
	for _, h := range []*lab.Machine{world.host1, world.host2} {
		vm := onHost(t, h, "fails")
		r := in.ferry("rebuild", "fails", "root@"+h.Name).want(1, "  | error: undefined reference to 'frobnicate'", "error: fails: building /nix/store/", "-failing-1.0.drv failed: builder", hint+"the whole log: nix log /nix/store/", "nothing was changed")
		if n := r.errors(); n != 1 {
			t.Errorf("%d errors: %s", n, r)
		}
		vm.noDirectory()
		if got := vm.root("ferry/fails/pending"); got != "" {
			t.Errorf("the pending root %s is left", got)
		}
		if h := vm.history(); !strings.Contains(h, `"outcome":"failed"`) || !strings.Contains(h, "failing-1.0") {
			t.Errorf("history: %s", h)
		}
	}
}

// The documented order of arguments does what it says.
// microvm-nix/microvm.nix#335
func TestDocumentedOrderOfArgumentsWorks(t *testing.T) {
	in, _ := newLive(t, "order")
	in.write("order.nix", liveModule("order", "second"))
	in.deploy(result.OutcomeSwitched, "rebuild", "order", "root@host1", "root@box", "switch")
	in.write("order.nix", liveModule("order", "third"))
	in.deploy(result.OutcomeTested, "rebuild", "order", "test", "root@host1", "root@box")
}
