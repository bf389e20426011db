//go:build lab

package e2e

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"ferry/internal/hydra/hydratest"
	"ferry/internal/lab"
)

// pipeline is a CI on the operator's machine that builds the VMs of a flake; the
// hosts get what it built from its cache only.
type pipeline struct {
	*ci
	in    *infra
	state hydratest.State
}

// infraFlake is what the jobset infra/main builds.
const infraFlake = "git+https://git.example.org/infra?ref=flake-update"

// newPipeline starts a CI whose key the given hosts trust.
func newPipeline(t *testing.T, in *infra, trusting ...*lab.Machine) *pipeline {
	t.Helper()
	p := &pipeline{ci: newCI(t, world.operator), in: in}
	p.state.Jobsets = []hydratest.Jobset{{Project: "infra", Name: "main", Flake: infraFlake}}
	p.state.Faults = map[string]string{}
	p.set(p.state)
	for _, m := range trusting {
		configureNix(t, m, "extra-trusted-public-keys = "+p.key)
	}
	return p
}

func (p *pipeline) jobset() string { return p.url + "/jobset/infra/main" }
func (p *pipeline) cache() string  { return p.url + "/cache" }

// build builds a VM's runner where no host has it, puts it into the cache, signed
// with the key of that name (empty: unsigned), and forgets it.
func (p *pipeline) build(vm, key string) string {
	p.t.Helper()
	store := "file://" + p.dir + "/files/cache?compression=none"
	if key != "" {
		store += "&secret-key=" + path.Join(p.dir, key)
	}
	p.in.op("rm", "-rf", p.dir+"/files/cache")
	out := p.in.op("nix", "build", "--no-link", "--print-out-paths", p.in.dir+"#nixosConfigurations."+vm+".config.microvm.declaredRunner")
	p.in.op("nix", "copy", "--to", store, out)
	p.in.op("nix-collect-garbage")
	absent(p.t, world.operator, out)
	return out
}

// builds replaces what the job of a VM has built.
func (p *pipeline) builds(b hydratest.Build) {
	p.t.Helper()
	kept := p.state.Builds[:0]
	for _, other := range p.state.Builds {
		if other.Job != b.Job {
			kept = append(kept, other)
		}
	}
	b.Project, b.Jobset, b.System, b.Eval = "infra", "main", "x86_64-linux", b.ID
	p.state.Builds = append(kept, b)
	p.set(p.state)
}

// succeeds makes the runner the newest successful build of a VM's job.
func (p *pipeline) succeeds(vm, runner string, id int64) {
	p.t.Helper()
	p.builds(hydratest.Build{ID: id, Job: vm, Finished: true, Out: runner})
}

// fails has the CI answer wrongly for a path; empty: well again.
func (p *pipeline) fails(path, how string) {
	p.t.Helper()
	p.state.Faults = map[string]string{path: how}
	p.set(p.state)
}

// key makes another key and returns its file's name.
func (p *pipeline) newKey(file, name string) string {
	p.t.Helper()
	p.in.op("sh", "-c", `nix key generate-secret --key-name "$1" >"$2"`, "sh", name, path.Join(p.dir, file))
	return file
}

// onlyHere serves the same at an address that no other machine reaches.
func (p *pipeline) onlyHere() string {
	p.t.Helper()
	unit, listen := "standin-here", "127.0.0.1:8751"
	output(p.t, world.operator, "systemd-run", "--quiet", "--unit="+unit, p.dir+"/standin", "-listen="+listen, "-files="+p.dir+"/files")
	p.t.Cleanup(func() { _, _ = world.operator.Output(context.Background(), "systemctl", "stop", unit) })
	eventually(p.t, "the cache answers", 10*time.Second, func() bool {
		_, err := world.operator.Output(p.t.Context(), "curl", "-fsS", "-o", "/dev/null", "http://"+listen+"/cache/nix-cache-info")
		return err == nil
	})
	return "http://" + listen + "/cache"
}

// put writes a file that the CI serves, and returns its URL.
func (p *pipeline) put(name, content string) string {
	p.t.Helper()
	if err := world.WriteFile(p.t.Context(), path.Join(p.dir, "files", name), content); err != nil {
		p.t.Fatal(err)
	}
	return p.url + "/" + name
}

// configureNix adds lines to a machine's nix.conf until the test ends.
func configureNix(t *testing.T, m *lab.Machine, lines ...string) {
	t.Helper()
	const restart = "systemctl try-restart nix-daemon.service"
	before := output(t, m, "cat", "/etc/nix/nix.conf")
	configure := func(ctx context.Context, content string) error {
		return m.Run(ctx, lab.Cmd{Args: []string{"sh", "-c", "cat >/etc/nix/nix.conf && " + restart}, Stdin: strings.NewReader(content + "\n")})
	}
	t.Cleanup(func() {
		if err := configure(context.Background(), before); err != nil {
			t.Error(err)
		}
	})
	if err := configure(t.Context(), before+"\n"+strings.Join(lines, "\n")); err != nil {
		t.Fatal(err)
	}
}

// away is the operator in a directory without a flake: nothing can be evaluated.
func away(t *testing.T) *infra {
	t.Helper()
	in := &infra{t: t, dir: "/root/t/away"}
	in.op("mkdir", "-p", in.dir)
	return in
}

// follows installs a VM whose `flake` file names what the CI builds.
func (in *infra) follows(vm string, args ...string) {
	in.t.Helper()
	in.ferry(append([]string{"install", vm, "--update-flake", infraFlake}, args...)...).want(0)
}

// absent fails the test if a machine's store has a path.
func absent(t *testing.T, m *lab.Machine, p string) {
	t.Helper()
	if got := output(t, m, "nix-store", "--check-validity", "--print-invalid", p); got != p {
		t.Errorf("%s is in the store of %s", p, m.Name)
	}
}

// fresh is a line of a module that makes a runner new for every machine, also
// where the lab was kept.
func fresh() string { return fmt.Sprintf("lab.note = %q;", time.Now().Format(time.RFC3339Nano)) }
