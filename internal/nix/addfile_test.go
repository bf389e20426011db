package nix_test

import (
	"testing"

	"ferry/internal/nix/nixtest"
)

// A file goes into the store under its name, and only a path of the store comes back.
func TestAddFile(t *testing.T) {
	for said, good := range map[string]bool{outA + "\n": true, "/etc/passwd\n": false, "": false} {
		n := nixtest.New(t, nixtest.Call{Args: []string{"nix-store", "--add", nixtest.Any}, Stdout: said})
		p, err := n.AddFile(t.Context(), "ferry-token-x", []byte("x"))
		if (err == nil) != good || good && string(p) != outA {
			t.Errorf("%q: %s, %v", said, p, err)
		}
	}
	if _, err := nixtest.New(t, nixtest.Call{Args: []string{"nix-store", "--add", nixtest.Any}, Exit: 1, Stderr: "error: no space left\n"}).AddFile(t.Context(), "x", nil); err == nil {
		t.Error("no error")
	}
}
