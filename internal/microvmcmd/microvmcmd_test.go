package microvmcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/cmdline"
	"ferry/internal/flake"
	"ferry/internal/host"
	"ferry/internal/host/inventory"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const (
	runner  = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-web")
	runnerB = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-microvm-web")
	system  = microvm.StorePath("/nix/store/ssssssssssssssssssssssssssssssss-nixos-web-1")
	systemB = microvm.StorePath("/nix/store/vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv-nixos-web-2")
)

// fake is the host, its flakes and the terminal; what nobody set up fails.
type fake struct {
	t       *testing.T
	vms     []hostapi.Listed
	vsock   *inventory.Vsock
	exists  error
	flakes  map[microvm.Name]string
	fails   map[microvm.Name]error // of updates
	yields  map[string]microvm.StorePath
	evalErr error
	updated []host.UpdateRequest

	evaluated  []flake.Source
	said       strings.Builder
	text       strings.Builder
	ran        []string
	runIn      string
	inParallel chan struct{}
}

func (f *fake) List(context.Context) ([]hostapi.Listed, error) { return f.vms, nil }

func (f *fake) Look(_ context.Context, n microvm.Name) (*hostapi.Listed, error) {
	for _, v := range f.vms {
		if v.Name == string(n) {
			return &v, nil
		}
	}
	return nil, hostapi.Refuse("there is no VM "+string(n), "")
}

func (f *fake) FindVsock(context.Context, microvm.Name) (*inventory.Vsock, error) {
	return f.vsock, nil
}

func (f *fake) CheckCreate(context.Context, microvm.Name) error { return f.exists }

func (f *fake) UpdateFlake(_ context.Context, n microvm.Name) (string, error) {
	if f.flakes[n] == "bad" {
		return "", hostapi.Refuse("flake can't be used: it is not text", "")
	}
	return f.flakes[n], nil
}

func (f *fake) Update(_ context.Context, req host.UpdateRequest, _ *host.Answers) (*host.Updated, error) {
	f.updated = append(f.updated, req)
	if err := f.fails[req.Record.Name]; err != nil {
		return nil, err
	}
	return &host.Updated{Generation: 2, Plan: hostapi.Plan{Install: true}, Activated: hostapi.ActivateNone}, nil
}

func (f *fake) Evaluate(_ context.Context, src flake.Source, n microvm.Name) (*flake.Evaluation, error) {
	if f.inParallel != nil { // two at least at the same time, or it hangs
		select {
		case f.inParallel <- struct{}{}:
		case <-f.inParallel:
		}
	} else {
		f.evaluated = append(f.evaluated, src)
	}
	if f.evalErr != nil {
		return nil, f.evalErr
	}
	out, ok := f.yields[src.Ref]
	if !ok {
		return nil, fmt.Errorf("evaluating %s: no such flake", src.Ref)
	}
	return &flake.Evaluation{Record: microvm.Record{Name: n, Runner: microvm.Output{Drv: out + ".drv", Out: out}, System: &microvm.Output{Out: systemB}}}, nil
}

func (f *fake) Step(subject, format string, args ...any) {
	fmt.Fprintf(&f.said, subject+": "+format+"\n", args...)
}
func (f *fake) Warn(format string, args ...any) {
	fmt.Fprintf(&f.said, "warning: "+format+"\n", args...)
}
func (f *fake) Problem(subject string, err error) {
	fmt.Fprintf(&f.said, "problem: %s: %v\n", subject, err)
}
func (f *fake) Text(text string) error { f.text.WriteString(text); return nil }

func (f *fake) command() *Command {
	return &Command{
		Machine: f, Evaluate: f, Report: f, Answers: host.NewAnswers(io.Discard),
		Deploy:  func(context.Context) (Deployer, error) { return f, nil },
		Exec:    func(_ string, argv []string, dir string) error { f.ran, f.runIn = argv, dir; return nil },
		Program: "/usr/local/bin/ferry", Lib: f.t.TempDir(), Root: true,
	}
}

func (f *fake) run(args ...string) error {
	f.t.Helper()
	o, err := Parse(args)
	if err != nil {
		f.t.Fatal(err)
	}
	f.said.Reset()
	f.text.Reset()
	return f.command().Run(f.t.Context(), o)
}

// A relative -f is taken from the working directory, and stored absolute.
// microvm-nix/microvm.nix#539
func TestCreateWithRelativeFlake(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("infra", 0o755); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		".": dir, "./infra": dir + "/infra", "infra/..": "infra/..", "./infra?dir=x": dir + "/infra?dir=x", "path:.": "path:" + dir,
		"path:infra": "path:" + dir + "/infra", "git+file:infra?ref=main": "git+file://" + dir + "/infra?ref=main",
		"git+file:///etc/nixos": "git+file:///etc/nixos", "github:a/b": "github:a/b", "/x/y": "/x/y", "nixpkgs": "nixpkgs",
	} {
		f := &fake{t: t, yields: map[string]microvm.StorePath{want: runner}}
		if err := f.run("-c", "web", "-f", ref); err != nil {
			t.Errorf("-f %s: %v", ref, err)
			continue
		}
		if got := f.updated[0]; got.Flake != want || !got.Create || got.Restart || got.Record.Name != "web" {
			t.Errorf("-f %s: %+v", ref, got)
		}
		if !strings.Contains(f.text.String(), "systemctl start microvm@web.service") {
			t.Errorf("said %q", f.text.String())
		}
	}
	for _, ref := range []string{"./nowhere", "-x", ".#web", "a b"} {
		f := &fake{t: t}
		var usage *cmdline.UsageError
		if err := f.run("-c", "web", "-f", ref); !errors.As(err, &usage) || len(f.evaluated) > 0 {
			t.Errorf("-f %s: %v", ref, err)
		}
	}
}

// The default flake works where /etc/nixos is in no git repository.
// microvm-nix/microvm.nix#539
func TestDefaultFlake(t *testing.T) {
	c := &Command{}
	dir := t.TempDir()
	if _, err := c.defaultFlake(dir); err == nil || !strings.Contains(err.Error(), "flake.nix") {
		t.Errorf("without a flake: %v", err)
	}
	sub := filepath.Join(dir, "nixos")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sub, "flake.nix"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want := func(ref string) {
		t.Helper()
		if got, err := c.defaultFlake(sub); got != ref || err != nil {
			t.Errorf("got %q, %v; wanted %q", got, err, ref)
		}
	}
	want("path:" + sub)
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	want(sub)
	if err := os.Mkdir(filepath.Join(sub, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	want("git+file://" + sub)
}

// What to do is said in this command's options, not in those of ferry.
func TestEvaluationHints(t *testing.T) {
	unknown := &flake.UnknownVMError{Ref: "github:a/b", Name: "web", Existing: []string{"db"}}
	noFlake := &flake.EvalError{Ref: "github:a/b", Message: "path '/x' does not contain a 'flake.nix'"}
	for _, c := range []struct {
		err  error
		args []string
		want string
	}{
		{unknown, []string{"-c", "web", "-f", "github:a/b"}, "name one of them, or another flake with -f"},
		{noFlake, []string{"-c", "web", "-f", "github:a/b"}, "name the flake: microvm -c NAME -f FLAKE"},
		{unknown, []string{"-u", "web"}, "correct the reference in the VM's `flake` file"},
		{noFlake, []string{"-u", "web"}, "correct the reference in the VM's `flake` file"},
		{&flake.EvalError{Message: "boom", Position: "flake.nix:1:1"}, []string{"-u", "web"}, "correct it there"},
	} {
		f := &fake{t: t, evalErr: c.err, flakes: map[microvm.Name]string{"web": "github:a/b"}}
		err := f.run(c.args...)
		var h interface{ Hint() string }
		if !errors.Is(err, c.err) || !errors.As(err, &h) || h.Hint() != c.want {
			t.Errorf("%v: %v, hint %v", c.args, err, h)
		}
	}
}

// An existing VM is found before anything is evaluated.
func TestCreateExisting(t *testing.T) {
	f := &fake{t: t, exists: hostapi.Refuse("it already exists", "")}
	if err := f.run("-c", "web", "-f", "github:a/b"); err == nil || len(f.evaluated)+len(f.updated) > 0 {
		t.Errorf("%v, evaluated %v", err, f.evaluated)
	}
}

// One VM that fails doesn't stop the rest, and the exit code says so.
func TestUpdateGoesOn(t *testing.T) {
	f := &fake{
		t: t, yields: map[string]microvm.StorePath{"github:a/b": runner},
		flakes: map[microvm.Name]string{"web": "github:a/b", "blank": "", "binary": "bad", "gone": "github:x/y", "db": "github:a/b", "broken": "github:a/b"},
		fails:  map[microvm.Name]error{"broken": errors.New("the build failed")},
	}
	err := f.run("-Ru", "blank", "binary", "gone", "broken", "web", "db")
	var partial *PartialError
	if !errors.As(err, &partial) || partial.Done != 2 || !slices.Equal(partial.Failed, []microvm.Name{"blank", "binary", "gone", "broken"}) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"problem: blank: it has no `flake` file", "problem: binary: flake can't be used", "problem: gone: evaluating", "problem: broken: the build failed"} {
		if !strings.Contains(f.said.String(), want) {
			t.Errorf("%q is missing in\n%s", want, f.said.String())
		}
	}
	if last := f.updated[len(f.updated)-1]; last.Record.Name != "db" || !last.Restart || last.Create || last.Flake != "" {
		t.Errorf("the last update: %+v", last)
	}
	if !slices.Contains(f.evaluated[0].Options, "--refresh") {
		t.Error("an update may be an hour old")
	}
	locked := &hostapi.Failure{Kind: hostapi.KindLocked, Message: "locked"}
	f.fails["web"] = locked
	if err := f.run("-u", "web"); !errors.Is(err, error(locked)) {
		t.Errorf("one VM's own error is lost: %v", err)
	}
}

// -u without names updates what can be updated, and names what can't.
func TestUpdateAll(t *testing.T) {
	f := &fake{
		t: t, yields: map[string]microvm.StorePath{"github:a/b": runner}, flakes: map[microvm.Name]string{"web": "github:a/b"},
		vms: []hostapi.Listed{
			{Name: "web", State: hostapi.StateRunning, Flake: "github:a/b"}, {Name: "bare", State: hostapi.StateRunning},
			{Name: "nixos", State: hostapi.StateRunning, Flake: "github:a/b", Declared: true},
			{Name: "junk", State: hostapi.StateNoVM, Problems: []string{"it is not a VM"}},
			{Name: "failed", State: hostapi.StateFailed, Problems: []string{"its service failed"}},
		},
	}
	if err := f.run("-u"); err != nil {
		t.Fatal(err)
	}
	if len(f.updated) != 1 || f.updated[0].Record.Name != "web" {
		t.Errorf("updated: %+v", f.updated)
	}
	for _, want := range []string{"bare: left out", "nixos: left out", "failed: left out: it has no `flake` file", "junk: left out: it is not a VM"} {
		if !strings.Contains(f.said.String(), want) {
			t.Errorf("%q is missing in\n%s", want, f.said.String())
		}
	}
}

// A fixed store path is named, where the update would silently do nothing.
// microvm-nix/microvm.nix#55, #416, #283
func TestFixedFlakeIsNamed(t *testing.T) {
	fixed := "path:/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-source?narHash=x"
	f := &fake{
		t: t, yields: map[string]microvm.StorePath{fixed: runner}, flakes: map[microvm.Name]string{"web": fixed},
		vms: []hostapi.Listed{{Name: "web", State: hostapi.StateRunning, Current: runner, Booted: runner, Flake: fixed}},
	}
	if err := f.run("-u", "web"); err != nil || !strings.Contains(f.said.String(), "never find anything new") {
		t.Errorf("-u: %v, said %q", err, f.said.String())
	}
	if err := f.run("-l"); err != nil || !strings.Contains(f.said.String(), "never find anything new") {
		t.Errorf("-l: %v, said %q", err, f.said.String())
	}
}

// The words of the list are those that scripts know; nothing aborts it.
func TestList(t *testing.T) {
	f := &fake{
		t: t, yields: map[string]microvm.StorePath{"a:a": runner, "b:b": runnerB},
		vms: []hostapi.Listed{
			{Name: "current", State: hostapi.StateRunning, Fresh: hostapi.FreshCurrent, Current: runner, Booted: runner, CurrentSystem: system, Running: system, Flake: "a:a"},
			{Name: "outdated", State: hostapi.StateRunning, Fresh: hostapi.FreshCurrent, Current: runner, Booted: runner, CurrentSystem: system, Running: system, Flake: "b:b"},
			{Name: "down", State: hostapi.StateStopped, Fresh: hostapi.FreshCurrent, Current: runner, CurrentSystem: system, Flake: "a:a"},
			{Name: "stale", State: hostapi.StateRunning, Fresh: hostapi.FreshWaits, Current: runner, Booted: runnerB, CurrentSystem: system, Running: systemB, Flake: "a:a"},
			{Name: "bare", State: hostapi.StateRunning, Fresh: hostapi.FreshCurrent, Current: runner, Booted: runner, CurrentSystem: system},
			{Name: "gone", State: hostapi.StateStopped, Fresh: hostapi.FreshUnknown, Current: runner, Problems: []string{"`current` is dangling"}},
			{Name: "binary", State: hostapi.StateRunning, Fresh: hostapi.FreshCurrent, Current: runner, Booted: runner, CurrentSystem: system, FlakeError: "it is not text", Problems: []string{"it is not text"}},
			{Name: "lost", State: hostapi.StateRunning, Fresh: hostapi.FreshCurrent, Current: runner, Booted: runner, CurrentSystem: system, Flake: "c:c"},
			{Name: "junk", State: hostapi.StateNoVM, Problems: []string{"it is not a VM"}},
		},
	}
	f.inParallel = make(chan struct{})
	f.vms = append(f.vms, f.vms[0]) // an even number of evaluations
	f.vms[len(f.vms)-1].Name = "even"
	err := f.run("-l")
	var partial *PartialError
	if !errors.As(err, &partial) || partial.Done != 7 || !slices.Equal(partial.Failed, []microvm.Name{"binary", "lost"}) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		"current: current(nixos-web-1)\n",
		"outdated: outdated(nixos-web-1), rebuild(nixos-web-2) and reboot: microvm -Ru outdated\n",
		"down: current(nixos-web-1), not booted: systemctl start microvm@down.service\n",
		"stale: stale(nixos-web-2), reboot(nixos-web-1): systemctl restart microvm@stale.service\n",
		"bare: current(nixos-web-1)\n", "gone: broken\n", "binary: unknown(nixos-web-1)",
	} {
		if !strings.Contains(f.text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, f.text.String())
		}
	}
	if !strings.Contains(f.said.String(), "lost: evaluating c:c") || strings.Contains(f.text.String(), "junk") {
		t.Errorf("said\n%s\nprinted\n%s", f.said.String(), f.text.String())
	}
}

func TestForeground(t *testing.T) {
	f := &fake{t: t, vms: []hostapi.Listed{
		{Name: "web", State: hostapi.StateStopped, Current: runner, Dir: "/var/lib/microvms/web"},
		{Name: "up", State: hostapi.StateRunning, Current: runner}, {Name: "broken", State: hostapi.StateStopped, Problems: []string{"no store path"}},
	}}
	if err := f.run("-r", "web"); err != nil || f.runIn != "/var/lib/microvms/web" || !slices.Equal(f.ran, []string{"./current/bin/microvm-run"}) {
		t.Errorf("%v: ran %q in %s", err, f.ran, f.runIn)
	}
	f.ran = nil
	for name, want := range map[string]string{"up": "is already running", "broken": "no store path", "none": "no VM none"} {
		if err := f.run("-r", name); err == nil || !strings.Contains(err.Error(), want) || f.ran != nil {
			t.Errorf("%s: %v, ran %q", name, err, f.ran)
		}
	}
}

// The guest's host key is pinned in root's own file, never unchecked.
// nix-community/nixos-cli#121
func TestSSH(t *testing.T) {
	for line, want := range map[string]string{
		"-s web":                  "-l root -- vsock/7",
		"-s web uname -a":         "-l root -- vsock/7 uname -a",
		"-s web ls -l":            "-l root -- vsock/7 ls -l",
		"-s web -- -v":            "-l root vsock/7 -v",
		"-s web -- -l ann id":     "vsock/7 -l ann id",
		"-s web -- -lann":         "vsock/7 -lann",
		"-s web -- -oUser=ann":    "vsock/7 -oUser=ann",
		"-s web -- -o User=ann x": "vsock/7 -o User=ann x",
	} {
		f := &fake{t: t, vsock: &inventory.Vsock{CID: 7}}
		if err := f.run(strings.Fields(line)...); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(f.ran, " ")
		if !strings.HasSuffix(got, " "+want) {
			t.Errorf("%s: %s, wanted … %s", line, got, want)
		}
		for _, option := range []string{
			"StrictHostKeyChecking=accept-new", "HostKeyAlias=microvm-web", "/known_hosts",
			"ProxyCommand=/usr/local/bin/ferry host vsock-proxy web", "ProxyUseFdpass=no",
		} {
			if !strings.Contains(got, option) {
				t.Errorf("%q is missing in %s", option, got)
			}
		}
		for _, weak := range []string{"StrictHostKeyChecking=no", "/dev/null"} {
			if strings.Contains(got, weak) {
				t.Errorf("%s: %s", weak, got)
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	live := hostapi.Plan{Install: true, Activation: hostapi.ActivateLive, Previous: runner}
	for want, done := range map[string]host.Updated{
		"no restart needed":             {Running: true, Plan: hostapi.Plan{Activation: hostapi.ActivateNone}},
		"can be switched live":          {Running: true, Plan: live, Activated: hostapi.ActivateNone},
		"configuration only":            {Running: true, Plan: live, Activated: hostapi.ActivateNone},
		"needs a restart":               {Running: true, Plan: hostapi.Plan{Activation: hostapi.ActivateNone, Waits: []string{"memory 1 → 2 MiB"}, Hardware: []string{"memory 1 → 2 MiB"}}},
		"the hardware needs a restart":  {Running: true, Plan: hostapi.Plan{Activation: hostapi.ActivateLive, Waits: []string{"memory"}}},
		"restarted":                     {Running: true, Activated: hostapi.ActivateRestart},
		"systemctl start microvm@web.s": {Plan: hostapi.Plan{Activation: hostapi.ActivateStart}},
		"switch inhibitor dbus a → b":   {Running: true, Plan: hostapi.Plan{Inhibitors: []string{"switch inhibitor dbus a → b"}}},
		"memory 1 → 2 MiB":              {Running: true, Plan: hostapi.Plan{Hardware: []string{"memory 1 → 2 MiB"}}},
		"nginx: 1 → 2":                  {Plan: hostapi.Plan{Install: true, Closure: []string{"nginx: 1 → 2"}}},
	} {
		if got := describe("web", &done); !strings.Contains(got, want) {
			t.Errorf("%+v: %q, wanted %q", done, got, want)
		}
	}
}
