package runner

import (
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
		if text := r.canonical([]byte(script), 0); strings.Contains(text, string(system)) {
			t.Errorf("the system is not masked: %q", text)
		}
	})
}
