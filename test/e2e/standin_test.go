//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry/internal/hydra/hydratest"
	"ferry/internal/lab"
)

// ci is a stand-in for a Hydra with a binary cache beside it, on a machine of the
// lab.
type ci struct {
	t       *testing.T
	machine *lab.Machine
	dir     string // there; below it `cache` and the Hydra's state
	url     string
	key     string // public, of the cache; its secret one is in the operator's dir/key
}

const ciPort = 8750

// newCI starts one, which ends with the test.
func newCI(t *testing.T, m *lab.Machine) *ci {
	t.Helper()
	c := &ci{t: t, machine: m, dir: "/root/t/ci-" + t.Name(), url: fmt.Sprintf("http://%s:%d", m.Name, ciPort)}
	output(t, m, "rm", "-rf", c.dir)
	output(t, m, "mkdir", "-p", c.dir+"/files/cache")
	c.set(hydratest.State{})
	binary := filepath.Join(t.TempDir(), "standin")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "ferry/test/e2e/standin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the stand-in: %v\n%s", err, out)
	}
	if err := m.Install(t.Context(), binary, c.dir+"/standin", 0o755); err != nil {
		t.Fatal(err)
	}
	unit := "standin-" + strings.ToLower(t.Name())
	output(t, m, "systemd-run", "--quiet", "--unit="+unit, c.dir+"/standin", fmt.Sprintf("-listen=:%d", ciPort), "-state="+c.dir+"/state.json", "-files="+c.dir+"/files")
	t.Cleanup(func() {
		if _, err := m.Output(context.Background(), "systemctl", "stop", unit); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the stand-in answers", 10*time.Second, func() bool {
		_, err := m.Output(t.Context(), "curl", "-fsS", "-o", "/dev/null", fmt.Sprintf("http://127.0.0.1:%d/", ciPort))
		return err == nil
	})
	output(t, world.operator, "mkdir", "-p", c.dir)
	c.key = output(t, world.operator, "sh", "-c", `cd "$1" && nix key generate-secret --key-name ci-1 >key && nix key convert-secret-to-public <key`, "sh", c.dir)
	return c
}

// set changes what the Hydra knows, for the next request on.
func (c *ci) set(s hydratest.State) {
	c.t.Helper()
	content, err := json.Marshal(s)
	if err != nil {
		c.t.Fatal(err)
	}
	name := path.Join(c.dir, "state.json")
	err = c.machine.Run(c.t.Context(), lab.Cmd{Args: []string{"sh", "-c", `cat >"$1.new" && mv "$1.new" "$1"`, "sh", name}, Stdin: strings.NewReader(string(content))})
	if err != nil {
		c.t.Fatalf("writing %s: %v", name, err)
	}
}

// publish signs what the operator built and puts it, with all that belongs to it,
// into the cache.
func (c *ci) publish(paths ...string) {
	c.t.Helper()
	args := append([]string{"nix", "copy", "--no-check-sigs", "--to", "file://" + c.dir + "/cache?compression=none&secret-key=" + c.dir + "/key"}, paths...)
	output(c.t, world.operator, args...)
	output(c.t, world.operator, "sh", "-c", `tar -C "$1" -c cache | ssh "root@$2" tar -C "$1/files" -x`, "sh", c.dir, c.machine.Name)
}

// The stand-in is what the tests of updates take it for: job pages lead to build
// pages, and what it serves can be fetched with a signature that is checked.
func TestStandIn(t *testing.T) {
	c := newCI(t, world.host2)
	in := newInfra(t, "", map[string]string{
		// One that no host has from an earlier run.
		"standin": vmModule("standin", fmt.Sprintf("lab.note = %q;", time.Now().Format(time.RFC3339Nano))),
	})
	runner := in.op("nix", "build", "--no-link", "--print-out-paths", in.dir+"#nixosConfigurations.standin.config.microvm.declaredRunner")
	c.publish(runner)
	c.set(hydratest.State{
		Jobsets: []hydratest.Jobset{{Project: "infra", Name: "main", Flake: "git+https://git.example.org/infra"}},
		Builds:  []hydratest.Build{{ID: 7, Eval: 1, Project: "infra", Jobset: "main", Job: "standin", System: "x86_64-linux", Finished: true, Out: runner}},
	})
	page := c.url + "/job/infra/main/standin/latest-finished"
	if head := in.op("curl", "-sS", "-I", "-X", "GET", "-H", "Accept: application/json", page); !strings.Contains(head, "302 Found") || !strings.Contains(head, "Location: "+c.url+"/build/7") {
		t.Error(head)
	}
	if body := in.op("curl", "-sSL", "-H", "Accept: application/json", page); !strings.Contains(body, `"path":"`+runner+`"`) {
		t.Error(body)
	}
	fetch := []string{"nix", "copy", "--from", c.url + "/cache", runner}
	if out, err := world.host1.Output(t.Context(), fetch...); err == nil {
		t.Errorf("fetched without a key: %s", out)
	}
	output(t, world.host1, append(fetch, "--option", "trusted-public-keys", c.key)...)
	valid(t, world.host1, runner)
}
