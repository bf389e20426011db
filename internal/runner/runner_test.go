package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

const (
	path   = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-web")
	system = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-nixos-system-web")
)

// Whatever a script of a runner holds, reading it ends, and the system inside never
// shows through the mask.
func FuzzRunnerScript(f *testing.F) {
	f.Add("exec qemu -m 512M -append \"init=" + string(system) + "/init\"")
	f.Add("regInfo=" + string(system) + "-x/registration /nix/store/" + strings.Repeat("c", 32) + "-y/z")
	f.Add("\x00\xff'\"\\")
	r := At(f.TempDir(), path)
	r.System = system
	f.Fuzz(func(t *testing.T, script string) {
		rd := &reader{Runner: r, fp: &Fingerprint{Programs: map[string]string{}}, seen: map[string]string{}, left: maxRefBytes}
		if text := rd.canonical(script, 0); strings.Contains(text, string(system)) {
			t.Errorf("the system is not masked: %q", text)
		}
		if args, ok := parseBootArguments(script); ok && args.system != "" {
			if _, err := microvm.ParseStorePath(string(args.system)); err != nil {
				t.Errorf("the system is %q: %v", args.system, err)
			}
		}
		for _, o := range r.command(script).Options {
			if o.Flag == "" && o.Value == "" && !strings.ContainsAny(script, `'"`) {
				t.Errorf("an argument out of nothing: %q", script)
			}
		}
	})
}

func TestOpenRefusesOtherPackages(t *testing.T) {
	root := t.TempDir()
	bin := filepath.Join(root, string(system), "bin")
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.WriteFile(filepath.Join(bin, "hello"), nil, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, system); err == nil || !strings.Contains(err.Error(), "is not a runner") {
		t.Errorf("got %v", err)
	}
}
