package host

import (
	"os"
	"path/filepath"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// A collector takes nothing that a guest is about to look for; with the deployment
// it may.
func TestTokenIsKeptForAsLongAsTheDeployment(t *testing.T) {
	const name = "ferry-token-00112233445566778899aabbccddeeff"
	h := twoRunners(t)
	c := h.session()
	c.prepare(hosttest.RunnerB)
	var token microvm.StorePath
	if err := c.ask(hostapi.Request{Token: &hostapi.TokenRequest{Name: name}}, &token); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(h.Layout.VM(web).Roots().Path(), "pending-drv-token")
	if got, err := os.Readlink(root); err != nil || got != string(nix.FilePath(name, []byte(name+"\n"))) {
		t.Errorf("%s: %q, %v", root, got, err)
	}
	c.leave()
	if _, err := os.Lstat(root); err == nil {
		t.Error("its root is left")
	}
}
