//go:build lab

package e2e

import (
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// unchangedBy runs ferry, which must fail, and checks that it installed nothing.
func (v vmOn) unchangedBy(runner string, fail func()) {
	v.t.Helper()
	current, old, invocation := v.link("current"), v.link("old"), v.invocation()
	fail()
	if v.link("current") != current || v.link("old") != old || v.invocation() != invocation {
		v.t.Errorf("current was %s and is %s", current, v.link("current"))
	}
	absent(v.t, v.host, runner)
	if got := v.root("ferry/" + v.name + "/pending"); got != "" {
		v.t.Errorf("a pending root is left: %s", got)
	}
}

// A narinfo with a wrong or missing signature is refused on hosts of both kinds:
// nothing is installed, and the message says which key would be needed. What a
// user's own configuration says of keys is no help and is never tried: the copy
// is root's.
// nix-community/infra#1598
func TestSignaturesAreChecked(t *testing.T) {
	for _, h := range []string{"host1", "host2"} {
		t.Run(h, func(t *testing.T) {
			vmName := "signed-" + h
			in := newInfra(t, "", map[string]string{vmName: vmModule(vmName)})
			m, err := world.Machine(h)
			if err != nil {
				t.Fatal(err)
			}
			in.ferry("rebuild", vmName, "root@"+h).want(0)
			vm := onHost(t, m, vmName)
			p := newPipeline(t, in, m)
			in.write(vmName+".nix", vmModule(vmName, fresh()))
			p.newKey("other", "other-1")
			p.newKey("forged", "ci-1")
			args := []string{"update", vmName, "--host", "root@" + h, "--cache", p.cache(), "--from", p.dir + "/runner"}
			for _, c := range []struct{ key, says string }{
				{"", "has no signature at all"},
				{"other", "is signed by other-1, which is not trusted"},
				{"forged", "by ci-1 is wrong: it was not made with the key of that name that is trusted"},
			} {
				runner := p.build(vmName, c.key)
				in.op("sh", "-c", `echo "$1" >"$2"`, "sh", runner, p.dir+"/runner")
				vm.unchangedBy(runner, func() {
					in.ferry(args...).want(1, c.says, "not accepted by the host", "trusted-public-keys", "nothing was changed")
				})
				// deploy is no trusted user of Nix, but its sudo makes root of it.
				vm.unchangedBy(runner, func() {
					in.ferry("update", vmName, "--host", "deploy@"+h, "--host-sudo", "--cache", p.cache(), "--from", p.dir+"/runner").want(1, c.says)
				})
			}
			p.build(vmName, "key")
			if res := in.deploy(result.OutcomeRestarted, args...); vm.link("booted") != string(res.Runner) {
				t.Errorf("booted %s", vm.link("booted"))
			}
		})
	}
}

// A path that the cache lacks, one that is not a runner, a cache that is down, one
// that stops in the middle: nothing is installed, and it ends.
func TestCacheFaults(t *testing.T) {
	in := newInfra(t, "", map[string]string{"starved": vmModule("starved")})
	in.ferry("rebuild", "starved", "root@host1").want(0)
	vm := onHost(t, world.host1, "starved")
	p := newPipeline(t, in, world.host1)
	in.write("starved.nix", vmModule("starved", fresh()))
	runner := p.build("starved", "key")
	file := p.put("runner", runner)
	args := []string{"update", "starved", "--host", "root@host1", "--cache", p.cache(), "--relay=never", "--allow-http", "--from", file}

	p.put("gone", "/nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-microvm-process-starved")
	vm.unchangedBy(runner, func() {
		in.ferry("update", "starved", "--host", "root@host1", "--cache", p.cache(), "--allow-http", "--from", p.url+"/gone").
			want(1, "/nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-microvm-process-starved is not in "+p.cache())
	})
	system := in.op("sh", "-c", `for i in "$1"/files/cache/*.narinfo; do sed -n 's/^StorePath: //p' "$i"; done | grep nixos-system`, "sh", p.dir)
	p.put("system", system)
	vm.unchangedBy(runner, func() {
		in.ferry("update", "starved", "--host", "root@host1", "--cache", p.cache(), "--allow-http", "--from", p.url+"/system").
			want(1, system+" is not a runner", "bin/microvm-run")
	})
	vm.unchangedBy(runner, func() {
		in.ferry("update", "starved", "--host", "root@host1", "--cache", "http://operator:8759/cache", "--relay=never", "--allow-http", "--from", file).
			want(1, "http://operator:8759/cache can't be reached from the host")
	})
	nar := in.op("sh", "-c", `sed -n 's/^URL: //p' "$1/files/cache/$2.narinfo"`, "sh", p.dir, strings.TrimPrefix(runner, "/nix/store/")[:32])
	p.fails("/cache/"+nar, "stall")
	vm.unchangedBy(runner, func() {
		in.ferry(append(args, "--stall-timeout", "1s")...).want(1, p.cache()+" stopped sending")
	})
	// One that would not end by itself for long: the limit is ferry's own.
	vm.unchangedBy(runner, func() {
		ended := lab.Took()
		in.ferry(append(args, "--fetch-limit", "3s")...).want(1, "was not there within 3s")
		if took := ended(); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	p.fails("/cache/"+nar, "500")
	vm.unchangedBy(runner, func() { in.ferry(args...).want(1, "error") })
	p.fails("", "")
	in.ferry(args...).want(0, "restarted")
}

// Where the host can't reach the cache the operator copies, and checks the
// signatures itself; then the host does.
func TestRelay(t *testing.T) {
	in := newInfra(t, "", map[string]string{"relayed": vmModule("relayed")})
	in.ferry("rebuild", "relayed", "root@host2").want(0)
	vm := onHost(t, world.host2, "relayed")
	p := newPipeline(t, in)
	in.write("relayed.nix", vmModule("relayed", fresh()))
	runner := p.build("relayed", "key")
	cache := p.onlyHere()
	args := []string{"update", "relayed", "--host", "root@host2", "--cache", cache, "--allow-http", "--from", p.put("runner", runner)}

	vm.unchangedBy(runner, func() {
		in.ferry(append(args, "--relay=never")...).want(1, cache+" can't be reached from the host")
	})
	vm.unchangedBy(runner, func() {
		in.ferry(args...).want(1, "copying through this machine", "not accepted by this machine", "is signed by ci-1, which is not trusted")
		absent(t, world.operator, runner)
	})
	configureNix(t, world.operator, "extra-trusted-public-keys = "+p.key)
	vm.unchangedBy(runner, func() {
		in.ferry(args...).want(1, "not accepted by the host", "ci-1")
		// deploy is nobody whom the host's Nix trusts; by sudo it is root, whose
		// word on signatures counts no more.
		in.ferry("update", "relayed", "--host", "deploy@host2", "--host-sudo", "--cache", cache, "--allow-http", "--from", p.url+"/runner").
			want(1, "not accepted by the host", "ci-1")
	})
	configureNix(t, world.host2, "extra-trusted-public-keys = "+p.key)
	in.ferry(args...).want(0, "copying through this machine", "restarted")
	if vm.link("booted") != runner {
		t.Errorf("booted %s", vm.link("booted"))
	}
}

// Without --cache the host takes it from its own substituters.
func TestOwnSubstituters(t *testing.T) {
	for _, h := range []string{"host1", "host2"} {
		t.Run(h, func(t *testing.T) {
			vmName := "subst-" + h
			in := newInfra(t, "", map[string]string{vmName: vmModule(vmName)})
			m, err := world.Machine(h)
			if err != nil {
				t.Fatal(err)
			}
			in.ferry("rebuild", vmName, "root@"+h).want(0)
			p := newPipeline(t, in)
			configureNix(t, m, "extra-substituters = "+p.cache())
			in.write(vmName+".nix", vmModule(vmName, fresh()))
			runner := p.build(vmName, "key")
			args := []string{"update", vmName, "--host", "root@" + h, "--allow-http", "--from", p.put("runner", runner)}
			onHost(t, m, vmName).unchangedBy(runner, func() {
				in.ferry(args...).want(1, "has no signature by a key that the host trusts")
			})
			configureNix(t, m, "extra-trusted-public-keys = "+p.key)
			in.ferry(args...).want(0, "restarted")
		})
	}
}

// Ctrl-C in the middle of a download leaves no download on the host, no
// lock and no root; meanwhile others are told who is at work. The same command
// brings the update afterwards.
// NixOS/nixpkgs#403269
func TestInterruptedDownloadLeavesNothing(t *testing.T) {
	in := newInfra(t, "", map[string]string{"halted": vmModule("halted")})
	in.ferry("rebuild", "halted", "root@host1").want(0)
	vm := onHost(t, world.host1, "halted")
	p := newPipeline(t, in, world.host1)
	in.write("halted.nix", vmModule("halted", fresh()))
	runner := p.build("halted", "key")
	nar := in.op("sh", "-c", `sed -n 's/^URL: //p' "$1/files/cache/$2.narinfo"`, "sh", p.dir, strings.TrimPrefix(runner, "/nix/store/")[:32])
	args := []string{"update", "halted", "--host", "root@host1", "--cache", p.cache(), "--allow-http", "--from", p.put("runner", runner)}
	downloading := func() bool {
		return output(t, world.host1, "sh", "-c", "pgrep -f '[n]ix .*copy --from' || :") != ""
	}
	p.fails("/cache/"+nar, "stall")
	vm.unchangedBy(runner, func() {
		first := in.begin(args...)
		eventually(t, "the host downloads", 30*time.Second, downloading)
		in.ferry(args...).want(5, "halted is locked by root@operator")
		first.signal("INT")
		first.wait().want(130, "halted: interrupted", "halted: nothing was changed")
		eventually(t, "the download has ended", 30*time.Second, func() bool { return !downloading() })
	})
	p.fails("", "")
	in.ferry(args...).want(0, "restarted")
}

// What is being downloaded is rooted from before it arrives: a garbage collection
// in the middle takes nothing of it.
func TestCollectionDuringADownload(t *testing.T) {
	in := newInfra(t, "", map[string]string{"swept": vmModule("swept")})
	in.ferry("rebuild", "swept", "root@host1").want(0)
	vm := onHost(t, world.host1, "swept")
	p := newPipeline(t, in, world.host1)
	in.write("swept.nix", vmModule("swept", fresh()))
	runner := p.build("swept", "key")
	script := in.op("sh", "-c", `sed -n 's/^StorePath: //p' "$1"/files/cache/*.narinfo | grep microvm-run`, "sh", p.dir)
	nar := in.op("sh", "-c", `sed -n 's/^URL: //p' "$1/files/cache/$2.narinfo"`, "sh", p.dir, strings.TrimPrefix(runner, "/nix/store/")[:32])
	p.fails("/cache/"+nar, "stall")
	update := in.begin("update", "swept", "--host", "root@host1", "--cache", p.cache(), "--allow-http", "--from", p.put("runner", runner), "--stall-timeout", "5s")
	eventually(t, "what the runner refers to is there", 30*time.Second, func() bool {
		return output(t, world.host1, "sh", "-c", `nix-store --check-validity "$1" 2>/dev/null && echo there || :`, "sh", script) == "there"
	})
	if got := vm.root("ferry/swept/pending"); got != runner {
		t.Errorf("the pending root points to %q", got)
	}
	collectGarbage(t, world.host1)
	valid(t, world.host1, script)
	p.fails("", "")
	update.wait().want(0, "restarted")
	collectGarbage(t, world.host1)
	valid(t, world.host1, runner)
}
