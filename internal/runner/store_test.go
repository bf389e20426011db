package runner

import (
	"os"
	"path/filepath"
	"testing"
)

func TestARunnerTellsWhetherItSharesTheStore(t *testing.T) {
	const source = "share/microvm/virtiofs/ro-store/source"
	for name, c := range map[string]struct {
		files         map[string]string
		shares, known bool
	}{
		"virtiofs":      {map[string]string{source: "/nix/store\n", "bin/microvm-run": "qemu"}, true, true},
		"another share": {map[string]string{source: "/nix/store/x\n", "bin/microvm-run": "qemu"}, false, false},
		"9p":            {map[string]string{"bin/microvm-run": "qemu -fsdev 'local,id=fs0,path=/nix/store,security_model=none'"}, true, true},
		"kvmtool's 9p":  {map[string]string{"bin/microvm-run": "lkvm run --9p /nix/store,ro-store"}, true, true},
		"a store disk":  {map[string]string{"bin/microvm-run": "qemu -drive file=/nix/store/x-microvm-store-disk.erofs"}, false, true},
		"both":          {map[string]string{"bin/microvm-run": "qemu -drive file=/nix/store/x-microvm-store-disk.erofs -fsdev path=/nix/store,x"}, true, false},
		"neither":       {map[string]string{"bin/microvm-run": "exec /nix/store/x-qemu/bin/qemu"}, false, false},
		"no runner":     {nil, false, false},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(root, "r", file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if shares, known := At(root, "/r").SharesStore(); shares != c.shares || known != c.known {
			t.Errorf("%s: %t, %t", name, shares, known)
		}
	}
}
