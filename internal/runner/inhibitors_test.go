package runner

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

const (
	oldSystem = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-nixos-system-web")
	newSystem = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-nixos-system-web")
	absent    = "\x00" // no file
)

func TestInhibited(t *testing.T) {
	line := func(hash, name string) string { return "/nix/store/" + strings.Repeat(hash, 32) + "-" + name + "\n" }
	for name, tt := range map[string]struct {
		from, to string
		want     []string
	}{
		"no file":                        {absent, absent, nil},
		"only the old one has it":        {`{"dbus": "dbus"}`, absent, nil},
		"only the new one has it":        {absent, `{"dbus": "broker"}`, nil},
		"nothing differs":                {`{"dbus": "dbus"}`, "{\n  \"dbus\": \"dbus\"\n}\n", nil},
		"a value differs":                {`{"dbus-implementation": "dbus"}`, `{"dbus-implementation": "broker"}`, []string{"dbus-implementation dbus → broker"}},
		"names come and go":              {`{"a": "1"}`, `{"b": "1"}`, nil},
		"a package of another version":   {`{"systemd": "` + strings.TrimSpace(line("a", "systemd-257.6")) + `"}`, `{"systemd": "` + strings.TrimSpace(line("b", "systemd-258")) + `"}`, []string{"systemd systemd-257.6 → systemd-258"}},
		"a rebuilt package":              {`{"systemd": "` + strings.TrimSpace(line("a", "systemd-257.6")) + `"}`, `{"systemd": "` + strings.TrimSpace(line("b", "systemd-257.6")) + `"}`, []string{"systemd rebuilt (systemd-257.6)"}},
		"an empty value":                 {`{"a": ""}`, `{"a": "x"}`, []string{"a nothing → x"}},
		"values that are not text":       {`{"a": 1, "b": [1]}`, `{"a": 2, "b": [1]}`, []string{"a 1 → 2"}},
		"lines: nothing differs":         {line("a", "systemd-257.6"), line("a", "systemd-257.6"), nil},
		"lines: a package differs":       {line("a", "systemd-257.6"), line("b", "systemd-258"), []string{"systemd systemd-257.6 → systemd-258"}},
		"lines: any difference counts":   {line("a", "systemd-257.6") + line("c", "x-1"), line("a", "systemd-257.6") + line("d", "y-1"), []string{"x is gone", "y is new"}},
		"lines: none named":              {"", line("a", "systemd-257.6"), nil},
		"one of lines, one of names":     {line("a", "systemd-257.6"), `{"systemd": "x"}`, nil},
		"no JSON and no paths":           {"nonsense\nmore", `{"a": "x"}`, nil},
		"JSON of another kind":           {`["a"]`, `{"a": "x"}`, nil},
		"a terminal's control sequences": {"{\"a\\u001b[31m\": \"\\u001b]0;x\\u0007\"}", "{\"a\\u001b[31m\": \"y\"}", []string{"a [31m  ]0;x  → y"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			writeInhibitors(t, root, oldSystem, tt.from)
			writeInhibitors(t, root, newSystem, tt.to)
			if got := Inhibited(root, oldSystem, newSystem); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, wanted %q", got, tt.want)
			}
			if got := Inhibited(root, newSystem, newSystem); got != nil {
				t.Errorf("a system inhibits itself: %q", got)
			}
		})
	}
}

func TestInhibitorsOfAHostileSystemAreBounded(t *testing.T) {
	root := t.TempDir()
	many := func(value string) string {
		var b strings.Builder
		for i := range 200 {
			b.WriteString(`, "` + strings.Repeat("n", i+1) + `": "` + value + `"`)
		}
		return "{" + strings.TrimPrefix(b.String(), ", ") + "}"
	}
	writeInhibitors(t, root, oldSystem, many("a"))
	writeInhibitors(t, root, newSystem, many(strings.Repeat("b", 100)))
	got := Inhibited(root, oldSystem, newSystem)
	if len(got) == 0 || len(got) > maxInhibitors || len(strings.Join(got, "")) > maxInhibitors*4*maxInhibitorLine {
		t.Errorf("%d lines", len(got))
	}
	writeInhibitors(t, root, newSystem, `{"n": "`+strings.Repeat("x", maxInhibitorsFile)+`"}`)
	if got := Inhibited(root, oldSystem, newSystem); got != nil {
		t.Errorf("a file that is too large was read: %d lines", len(got))
	}
}

// Whatever the files hold, little is shown of them, and on one line each.
func FuzzInhibitors(f *testing.F) {
	f.Add([]byte(`{"dbus-implementation": "dbus", "n": [1, {}]}`), []byte(`{"dbus-implementation": "broker"}`))
	f.Add([]byte("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-systemd-257\n"), []byte("/nix/store/x\n\x00"))
	f.Fuzz(func(t *testing.T, from, to []byte) {
		a, b := parseInhibitors(from), parseInhibitors(to)
		for _, line := range append(differences(a.values, b.values, a.lines && b.lines), differences(a.values, a.values, true)...) {
			if len([]rune(line)) > maxInhibitorLine+1 || strings.ContainsAny(line, "\x1b\n\r\x00") {
				t.Errorf("not for people: %q", line)
			}
		}
		if same := differences(a.values, a.values, true); len(same) > 0 {
			t.Errorf("a file differs from itself: %q", same)
		}
	})
}

func writeInhibitors(t *testing.T, root string, system microvm.StorePath, text string) {
	t.Helper()
	if text == absent {
		return
	}
	p := filepath.Join(root, string(system), "switch-inhibitors")
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}
