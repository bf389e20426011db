package timers

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/hostapi"
)

type fakeSystemd struct{ calls []string }

func (f *fakeSystemd) calendar(_ context.Context, expression string) (string, error) {
	if expression == "dayly" {
		return "Failed to parse calendar specification", nil
	}
	return "", nil
}
func (f *fakeSystemd) reload(context.Context) error { f.calls = append(f.calls, "reload"); return nil }
func (f *fakeSystemd) enable(_ context.Context, timer string) error {
	f.calls = append(f.calls, "enable "+timer)
	return nil
}
func (f *fakeSystemd) disable(_ context.Context, timer string) error {
	f.calls = append(f.calls, "disable "+timer)
	return nil
}
func (f *fakeSystemd) look(context.Context, Kind) (Status, error) { return Status{Active: true}, nil }
func (f *fakeSystemd) close()                                     {}

func newMachine(t *testing.T) (*Machine, *fakeSystemd) {
	t.Helper()
	sys := &fakeSystemd{}
	m := &Machine{root: t.TempDir(), sys: sys}
	put(t, m, program, "ferry")
	return m, sys
}

func put(t *testing.T, m *Machine, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m *Machine) must(t *testing.T, req Request, want Outcome) *Report {
	t.Helper()
	r, err := m.Do(t.Context(), req)
	if err != nil || r.Outcome != want {
		t.Fatalf("%+v, %v; wanted %s", r, err, want)
	}
	return r
}

func daily(k Kind) Request {
	return Request{
		Kind:     k,
		Settings: Settings{Update: &Update{FromFlake: true}, FlakeUpdate: &FlakeUpdate{Repository: "/srv/infra"}},
		Schedule: Schedule{OnCalendar: []string{"daily"}, Delay: time.Minute},
	}
}

func TestTimerComesAndGoes(t *testing.T) {
	m, sys := newMachine(t)
	dry := daily(KindUpdate)
	dry.DryRun = true
	if r := m.must(t, dry, OutcomePlanned); len(r.Changes) != 3 || !strings.Contains(r.Changes[2].Diff, "+OnCalendar=daily") || len(sys.calls) > 0 {
		t.Fatalf("%+v, %q", r, sys.calls)
	}
	m.must(t, daily(KindUpdate), OutcomeDone)
	m.must(t, daily(KindUpdate), OutcomeUnchanged)
	m.must(t, daily(KindFlakeUpdate), OutcomeDone)
	s, err := Read(m.path(File))
	if err != nil || s.Update == nil || s.FlakeUpdate == nil {
		t.Fatalf("%+v, %v", s, err)
	}
	timer, err := os.ReadFile(m.path(unitDir + "/ferry-update.timer"))
	if err != nil || !strings.Contains(string(timer), "RandomizedDelaySec=60\n") || !strings.Contains(string(timer), "Persistent=true\n") {
		t.Errorf("%v: %s", err, timer)
	}
	other := daily(KindUpdate)
	other.Schedule.OnCalendar = []string{"hourly"}
	if r := m.must(t, other, OutcomeDone); len(r.Changes) != 1 || r.Changes[0].Verb != "update" {
		t.Errorf("%+v", r.Changes)
	}
	remove := Request{Kind: KindUpdate, Remove: true}
	m.must(t, remove, OutcomeRemoved)
	m.must(t, remove, OutcomeUnchanged)
	if s, err := Read(m.path(File)); err != nil || s.Update != nil || s.FlakeUpdate == nil {
		t.Errorf("the other timer's settings: %+v, %v", s, err)
	}
	m.must(t, Request{Kind: KindFlakeUpdate, Remove: true}, OutcomeRemoved)
	if left, _ := filepath.Glob(m.path(unitDir + "/*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if _, err := os.Stat(m.path(File)); err == nil {
		t.Error("the settings are left")
	}
	put(t, m, File, "{broken")
	m.must(t, remove, OutcomeRemoved)
	if _, err := os.Stat(m.path(File)); err == nil {
		t.Error("settings that can't be read are left")
	}
	if !slices.Contains(sys.calls, "disable ferry-update.timer") || !slices.Contains(sys.calls, "enable ferry-flake-update.timer") {
		t.Errorf("systemd was told %q", sys.calls)
	}
}

func TestTimerRefused(t *testing.T) {
	for _, c := range []struct {
		name, want string
		spoil      func(m *Machine, req *Request)
	}{
		{"no time", "--on-calendar is missing", func(_ *Machine, r *Request) { r.Schedule.OnCalendar = nil }},
		{"a wrong time", "is not a calendar expression: Failed to parse", func(_ *Machine, r *Request) { r.Schedule.OnCalendar = []string{"dayly"} }},
		{"two lines", "is not a calendar expression", func(_ *Machine, r *Request) { r.Schedule.OnCalendar = []string{"daily\nUnit=x"} }},
		{"no ferry", "ferry host setup", func(m *Machine, _ *Request) { _ = os.Remove(m.path(program)) }},
		{"somebody else's unit", "is not as ferry made it", func(m *Machine, _ *Request) { put(t, m, unitDir+"/ferry-update.timer", "[Timer]\n") }},
		{"an edited unit", "is not as ferry made it", func(m *Machine, r *Request) {
			put(t, m, unitDir+"/ferry-update.service", KindUpdate.serviceFile()+"User=x\n")
		}},
		{"wrong settings there", "can't be read", func(m *Machine, _ *Request) { put(t, m, File, `{"update":`) }},
	} {
		m, sys := newMachine(t)
		req := daily(KindUpdate)
		c.spoil(m, &req)
		_, err := m.Do(t.Context(), req)
		text := ""
		if err != nil {
			text = err.Error()
			if h, ok := err.(interface{ Hint() string }); ok {
				text += h.Hint()
			}
			if f, ok := err.(*hostapi.Failure); ok {
				text += f.Hint
			}
		}
		if !strings.Contains(text, c.want) || len(sys.calls) > 0 {
			t.Errorf("%s: %v, systemd was told %q", c.name, err, sys.calls)
		}
	}
}

// On NixOS the host's configuration has its timers: what to put there is shown,
// and nothing in it is evaluated by accident.
func TestTimerOnNixOS(t *testing.T) {
	m, sys := newMachine(t)
	put(t, m, "/etc/os-release", "ID=nixos\n")
	req := daily(KindUpdate)
	req.Settings.Update = &Update{
		From: "https://ci.example.org/${x}\"", VMs: []string{"web", "db.a"}, Target: []string{"web=root@web", "db.a=db"}, TargetSudo: []string{"db.a"}, Restart: "never",
	}
	r := m.must(t, req, OutcomeNixOS)
	want := `# In the host's own configuration, with ferry.nixosModules.host imported (docs/nix.md):
{
  ferry.host.enable = true;
  ferry.host.timers.update = {
    enable = true;
    onCalendar = [ "daily" ];
    randomizedDelaySec = 60;
    from = "https://ci.example.org/\${x}\"";
    vms = [ "web" "db.a" ];
    targets."web".address = "root@web";
    targets."db.a".address = "db";
    targets."db.a".sudo = true;
    restart = "never";
  };
}
`
	if d := cmp.Diff(want, r.Advice); d != "" {
		t.Error(d)
	}
	req = daily(KindFlakeUpdate)
	req.Settings.FlakeUpdate = &FlakeUpdate{Repository: "/srv/infra.git", Push: "origin", Inputs: []string{"nixpkgs"}}
	r = m.must(t, req, OutcomeNixOS)
	for _, want := range []string{"ferry.host.timers.flakeUpdate = {", `repository = "/srv/infra.git";`, `push = "origin";`, `inputs = [ "nixpkgs" ];`} {
		if !strings.Contains(r.Advice, want) {
			t.Errorf("wanted %s in\n%s", want, r.Advice)
		}
	}
	if _, err := os.Stat(m.path(File)); err == nil || len(sys.calls) > 0 {
		t.Error("something was changed")
	}
}
