//go:build lab

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/lab"
)

// infra is a flake on the operator with VMs of one test's own.
type infra struct {
	t   *testing.T
	dir string // on the operator
}

// vmModule is a VM of the lab's library: a process runner, with what the test
// adds.
func vmModule(name string, lines ...string) string { return lab.ProcessVM(name, lines...) }

// liveModule is a VM whose system can be switched while it runs.
func liveModule(name, page string, lines ...string) string { return lab.LiveVM(name, page, lines...) }

// newInfra writes a flake whose nixosConfigurations are the given modules, and
// whose `ferry` output is the given Nix text.
func newInfra(t *testing.T, ferry string, modules map[string]string) *infra {
	t.Helper()
	in := &infra{t: t, dir: "/root/t/" + regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "-")}
	for name := range modules {
		forget(t, name)
	}
	if err := world.WriteFlake(t.Context(), in.dir, ferry, modules); err != nil {
		t.Fatal(err)
	}
	return in
}

// forget removes a VM from the hosts, now (an earlier run may have left it where
// the lab was kept) and when the test ends.
func forget(t *testing.T, name string) {
	t.Helper()
	wipe(t, t.Context(), name)
	t.Cleanup(func() { wipe(t, context.Background(), name) })
}

func wipe(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	for _, h := range []*lab.Machine{world.host1, world.host2} {
		if err := h.ForgetVM(ctx, name); err != nil {
			t.Error(err)
		}
	}
}

func (in *infra) op(args ...string) string { return output(in.t, world.operator, args...) }

// write puts a file into the flake; it is known to git but not committed.
func (in *infra) write(name, content string) {
	in.t.Helper()
	if err := world.WriteFile(in.t.Context(), path.Join(in.dir, name), content); err != nil {
		in.t.Fatal(err)
	}
}

// ran is one run of ferry.
type ran struct {
	t              *testing.T
	args           []string
	stdout, stderr string
	code           int
}

// ferry runs ferry on the operator in the flake's directory.
func (in *infra) ferry(args ...string) *ran { in.t.Helper(); return in.ferryWith(lab.Cmd{}, args...) }

func (in *infra) ferryWith(c lab.Cmd, args ...string) *ran {
	in.t.Helper()
	return in.ferryContext(in.t.Context(), c, args...)
}

func (in *infra) ferryContext(ctx context.Context, c lab.Cmd, args ...string) *ran {
	in.t.Helper()
	var out, errs bytes.Buffer
	c.Args = slices.Concat(c.Args, []string{"ferry"}, args) // given: what starts ferry
	c.Dir, c.Stdout, c.Stderr = in.dir, alsoTo(&out, c.Stdout), alsoTo(&errs, c.Stderr)
	err := world.operator.Run(ctx, c)
	r := &ran{t: in.t, args: args, stdout: out.String(), stderr: errs.String()}
	var re *lab.RunError
	switch {
	case errors.As(err, &re):
		r.code = re.ExitCode
	case err != nil && ctx.Err() == nil:
		in.t.Fatalf("ferry %s: %v", strings.Join(args, " "), err)
	}
	return r
}

func alsoTo(kept, also io.Writer) io.Writer {
	if also == nil {
		return kept
	}
	return io.MultiWriter(kept, also)
}

func (r *ran) String() string {
	return fmt.Sprintf("ferry %s (exit code %d)\n%s%s", strings.Join(r.args, " "), r.code, r.stderr, r.stdout)
}

// want fails the test unless ferry ended with code and said all of the texts.
func (r *ran) want(code int, texts ...string) *ran {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("wanted exit code %d: %s", code, r)
	}
	for _, text := range texts {
		if !strings.Contains(r.stdout+r.stderr, text) {
			r.t.Fatalf("wanted %q in: %s", text, r)
		}
	}
	return r
}

// without fails the test if ferry said the text.
func (r *ran) without(text string) *ran {
	r.t.Helper()
	if strings.Contains(r.stdout+r.stderr, text) {
		r.t.Fatalf("did not want %q in: %s", text, r)
	}
	return r
}

// result decodes what --json printed.
func (r *ran) result() result.Result {
	r.t.Helper()
	var res result.Result
	if err := json.Unmarshal([]byte(r.stdout), &res); err != nil {
		r.t.Fatalf("%v in: %s", err, r)
	}
	return res
}

// deploy runs `ferry ARGS --json`, wants the outcome and returns the result.
func (in *infra) deploy(want result.Outcome, args ...string) result.Result {
	in.t.Helper()
	r := in.ferry(append(args, "--json")...).want(0)
	res := r.result()
	if res.Outcome != want {
		in.t.Fatalf("wanted the outcome %s: %s", want, r)
	}
	return res
}

func output(t *testing.T, m *lab.Machine, args ...string) string {
	t.Helper()
	out, err := m.Output(t.Context(), args...)
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	return out
}

// vmOn is one VM as its host shows it.
type vmOn struct {
	t    *testing.T
	host *lab.Machine
	name string
}

func onHost(t *testing.T, h *lab.Machine, name string) vmOn { return vmOn{t: t, host: h, name: name} }

func (v vmOn) dir() string { return "/var/lib/microvms/" + v.name }

// link is where one of the VM's links points; empty where there is none.
func (v vmOn) link(name string) string {
	v.t.Helper()
	return output(v.t, v.host, "sh", "-c", `readlink "$1" || :`, "sh", path.Join(v.dir(), name))
}

func (v vmOn) root(name string) string {
	v.t.Helper()
	return output(v.t, v.host, "sh", "-c", `readlink "$1" || :`, "sh", path.Join("/nix/var/nix/gcroots", name))
}

func (v vmOn) property(name string) string {
	v.t.Helper()
	return output(v.t, v.host, "systemctl", "show", "--value", "-p", name, "microvm@"+v.name)
}

func (v vmOn) invocation() string { return v.property("InvocationID") }

func (v vmOn) systemctl(verb string) {
	v.t.Helper()
	output(v.t, v.host, "systemctl", verb, "microvm@"+v.name)
}

// collectGarbage runs Nix's garbage collector on the host.
func collectGarbage(t *testing.T, h *lab.Machine) {
	t.Helper()
	output(t, h, "nix-collect-garbage")
}

// valid fails the test if a store path is not valid on the host.
func valid(t *testing.T, h *lab.Machine, p string) {
	t.Helper()
	if p == "" {
		t.Fatal("no store path to check")
	}
	output(t, h, "nix-store", "--check-validity", p)
	output(t, h, "ls", p)
}

// connections counts the connections that a machine's sshd has accepted.
func connections(t *testing.T, m *lab.Machine) int {
	t.Helper()
	return logged(t, m, "Connection from")
}

// logins is how many of them have let somebody in: a host also finds out whether it
// could connect to its guest.
func logins(t *testing.T, m *lab.Machine) int {
	t.Helper()
	return logged(t, m, "Accepted publickey for")
}

func logged(t *testing.T, m *lab.Machine, begins string) int {
	t.Helper()
	n, err := strconv.Atoi(output(t, m, "sh", "-c", `journalctl -q -o cat -u ssh.service | grep -c "^$1 " || :`, "count", begins))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// boot boots a container guest with what the host has as the VM's current
// runner, as if the VM's unit had.
func (v vmOn) boot(guest *lab.Machine) {
	v.t.Helper()
	system := output(v.t, v.host, "readlink", path.Join(v.dir(), "current/share/microvm/system"))
	if err := world.BootGuest(v.t.Context(), guest.Name, system); err != nil {
		v.t.Fatal(err)
	}
}

func runningSystem(t *testing.T, guest *lab.Machine) string {
	t.Helper()
	return output(t, guest, "readlink", "-f", "/run/current-system")
}

// eventually waits until the condition holds; the limit is in patience (lab.Await).
func eventually(t *testing.T, what string, limit time.Duration, holds func() bool) {
	t.Helper()
	err := lab.Await(t.Context(), limit, 100*time.Millisecond, func(context.Context) error {
		if !holds() {
			return errors.New("it does not hold")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (in *infra) read(name string) string { return in.op("cat", path.Join(in.dir, name)) }
