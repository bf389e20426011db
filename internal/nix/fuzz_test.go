package nix

import (
	"encoding/json"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

// What Nix says of a flake decides what a cached evaluation is good for: one that
// is not pinned must never count as such.
func FuzzMetadata(f *testing.F) {
	f.Add(`{"url":"git+file:///x","locked":{"narHash":"sha256-x","rev":"abc"},"locks":{"root":"root","nodes":{"root":{}}}}`)
	f.Add(`{"locked":{"narHash":""},"locks":{"nodes":{"a":{"locked":{}}}}}`)
	f.Add(`{"locked":[],"locks":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		var m Metadata
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		if _ = m.Revision(); m.Pinned() && !strings.Contains(strings.ToLower(text), "hash") && !strings.Contains(text, `\u`) {
			t.Errorf("pinned without a hash: %s", text)
		}
	})
}

// The outputs of a build become roots and links.
func FuzzBuiltOutputs(f *testing.F) {
	const drv = "/nix/store/00000000000000000000000000000000-x.drv"
	f.Add(`[{"drvPath":"` + drv + `","outputs":{"out":"/nix/store/00000000000000000000000000000000-x"}}]`)
	f.Add(`[{"drvPath":"` + drv + `","outputs":{"out":"/etc"}}]`)
	f.Add(`[{}]`)
	f.Fuzz(func(t *testing.T, out string) {
		paths, err := builtOutputs([]byte(out), []microvm.StorePath{drv})
		if err != nil {
			return
		}
		for _, p := range paths {
			if _, err := microvm.ParseStorePath(string(p)); err != nil {
				t.Errorf("%q: %v", out, err)
			}
		}
	})
}
