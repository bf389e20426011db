package nix_test

import (
	"testing"

	"ferry/internal/nix/nixtest"
)

// Lix calls it as Nix did before 2.19.
func TestStoreOfLix(t *testing.T) {
	n := nixtest.New(t,
		nixtest.Call{Args: nixCall("store", "info", "--json", "--store", "ssh-ng://x"), Stderr: "error: 'info' is not a recognised command\nTry 'nix --help' for more information.\n", Exit: 1},
		nixtest.Call{Args: nixCall("store", "ping", "--json", "--store", "ssh-ng://x"), Stdout: `{"trusted":false,"url":"ssh-ng://x","version":"2.93.0"}`},
	)
	if info, err := n.Store(t.Context(), "ssh-ng://x", nil); err != nil || info.Trusted {
		t.Errorf("%+v, %v", info, err)
	}
}
