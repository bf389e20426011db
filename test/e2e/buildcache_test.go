//go:build lab

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// hostCache gives a host a binary cache of its own with what the operator built:
// each path signed by a key that the host trusts, or not, and, where forged,
// with the content of another path.
func hostCache(t *testing.T, h *lab.Machine, runner string, trusted, forged bool) {
	t.Helper()
	const dir = "/srv/cache-own"
	op := func(script string, args ...string) string {
		return output(t, world.operator, append([]string{"sh", "-euc", script, "sh"}, args...)...)
	}
	key := op(`rm -rf "$1"; mkdir -p "$1"; nix-store --generate-binary-cache-key own-1 "$1.secret" "$1.public"
nix copy --to "file://$1?compression=none&secret-key=$1.secret" "$2" >&2; cat "$1.public"`, dir, runner)
	if !trusted {
		key = op(`nix-store --generate-binary-cache-key own-1 "$1.other" "$1.public"; cat "$1.public"`, dir)
	}
	if forged {
		// What an attacker would serve: the runner's name, other content.
		op(`cd "$1"; hash=$(basename "$2" | cut -c 1-32); other=$(grep -l '^StorePath: .*nixos-system' *.narinfo | head -n 1)
{ sed '/^\(URL\|Compression\|FileHash\|FileSize\|NarHash\|NarSize\|References\|Deriver\|Sig\):/d' "$hash.narinfo"; grep '^\(URL\|Compression\|FileHash\|FileSize\|NarHash\|NarSize\|References\):' "$other"
grep '^Sig:' "$hash.narinfo"; } >new; mv new "$hash.narinfo"; rm -rf ~/.cache/nix/binary-cache*`, dir, runner)
		info := []string{"nix", "path-info", "--json", runner}
		if narHash(t, world.operator, append(info, "--store", "file://"+dir)) == narHash(t, world.operator, info) {
			t.Fatal("the cache serves the right content: is this test still right?")
		}
	}
	if err := os.RemoveAll(h.Path(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(h.Path(dir), os.DirFS(world.operator.Path(dir))); err != nil {
		t.Fatal(err)
	}
	restart := `systemctl try-restart nix-daemon.service 2>/dev/null || :; rm -rf /root/.cache/nix`
	output(t, h, "sh", "-euc", `[ -e /run/nix.conf.own ] || cp /etc/nix/nix.conf /run/nix.conf.own
{ grep -v '^substituters' /run/nix.conf.own; echo "substituters = file://$1"; echo "trusted-public-keys = $2"; } >/etc/nix/nix.conf; `+restart, "sh", dir, key)
	t.Cleanup(func() {
		_, err := h.Output(context.WithoutCancel(t.Context()), "sh", "-euc", `cp /run/nix.conf.own /etc/nix/nix.conf; rm -rf "$1"; `+restart, "sh", dir)
		if err != nil {
			t.Error(err)
		}
	})
}

// signed reports whether a host has the path from the cache of hostCache: what
// ferry sends has no signature.
func signed(t *testing.T, h *lab.Machine, p string) bool {
	t.Helper()
	return strings.Contains(output(t, h, "nix", "path-info", "--sigs", p), "own-1:")
}

// The host substitutes from its own caches before anything is sent, and only
// what its keys have signed. Whatever it does not get there is sent.
func TestHostSubstitutesFirst(t *testing.T) {
	for i, c := range []struct {
		what            string
		trusted, forged bool
		more            []string
		substituted     bool
	}{
		{what: "a cache that is trusted", trusted: true, substituted: true},
		{what: "not wanted", trusted: true, more: []string{"--no-substitute-on-destination"}},
		{what: "a key that is not trusted"},
		{what: "forged", trusted: true, forged: true},
		{what: "forged and not trusted", forged: true},
	} {
		hosts := []*lab.Machine{world.host1, world.host2}
		if i > 0 { // the rest says nothing of the kind of store
			hosts = hosts[i%2:][:1]
		}
		for _, h := range hosts {
			t.Run(c.what+" "+h.Name, func(t *testing.T) {
				name := fmt.Sprintf("subst%d-%s", i, h.Name)
				in := newInfra(t, "", map[string]string{name: vmModule(name, fmt.Sprintf("lab.note = %q;", c.what))})
				vm := onHost(t, h, name)
				runner := in.op("nix", "build", "--no-link", "--print-out-paths", fmt.Sprintf("%s#nixosConfigurations.%s.config.microvm.declaredRunner", in.dir, name))
				collectGarbage(t, h)
				if has(t, h, runner) {
					t.Fatal("the host has the runner already")
				}
				hostCache(t, h, runner, c.trusted, c.forged)
				r := in.deploy(result.OutcomeStarted, append([]string{"rebuild", name, "root@" + h.Name, "--build-on", "local"}, c.more...)...)
				if string(r.Runner) != runner {
					t.Fatalf("the runner is %s", r.Runner)
				}
				if got := signed(t, h, runner); got != c.substituted {
					t.Errorf("substituted: %v", got)
				}
				hash := []string{"nix", "path-info", "--json", runner}
				if here, there := narHash(t, world.operator, hash), narHash(t, h, hash); here != there {
					t.Errorf("the host's runner is %s, the operator's %s", there, here)
				}
				valid(t, h, vm.link("current"))
			})
		}
	}
}

func narHash(t *testing.T, m *lab.Machine, args []string) string {
	t.Helper()
	_, rest, _ := strings.Cut(output(t, m, args...), `"narHash":"`)
	hash, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatal("nix path-info names no narHash")
	}
	return hash
}

// Also where what is missing goes through the helper.
func TestHostSubstitutesFirstWithPassword(t *testing.T) {
	in := newInfra(t, "", map[string]string{"substask": vmModule("substask")})
	runner := in.op("nix", "build", "--no-link", "--print-out-paths", in.dir+"#nixosConfigurations.substask.config.microvm.declaredRunner")
	collectGarbage(t, world.host2)
	hostCache(t, world.host2, runner, true, false)
	in.typing(1, "rebuild", "substask", "admin@host2", "--host-sudo", "--build-on", "local").want(0, "started")
	if !signed(t, world.host2, runner) {
		t.Error("it was not substituted")
	}
}

// Settings for a build that somebody else makes, or that Nix would not take from
// this user, are not ignored in silence.
// nix-community/infra#1598
func TestIgnoredSettingsAreNamed(t *testing.T) {
	in := newInfra(t, "", map[string]string{"ignored": vmModule("ignored")})
	in.ferry("rebuild", "ignored", toHost1, "--option", "extra-substituters", "file:///srv/none", "--option", "cores", "1").
		want(0, "warning: --option extra-substituters: only the evaluation here gets to see it; root@host1 builds with the settings of its own nix.conf").
		without("--option cores")
	in.write("ignored.nix", vmModule("ignored", `lab.note = "2";`))
	// Here everything is passed on, and root is trusted.
	in.ferry("rebuild", "ignored", toHost1, "--build-on", "local", "--option", "builders", "").want(0, "restarted").without("warning: --option")
}
