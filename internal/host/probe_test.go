package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
	"ferry/internal/nix"
)

// A distribution's Nix makes its store when root first uses it.
func TestProbeTakesANixThatWasNeverUsed(t *testing.T) {
	h := newTestHost(t)
	if err := os.RemoveAll(filepath.Join(h.Layout.Root, "nix")); err != nil {
		t.Fatal(err)
	}
	if f, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web}); err != nil || f.VM.Exists {
		t.Errorf("%+v, %v", f, err)
	}
	srv := h.server()
	srv.nix = noNix{h.Nix}
	var refused *hostapi.Failure
	_, err := srv.Probe(t.Context(), hostapi.ProbeRequest{Name: web})
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "the host has no Nix store") || !strings.Contains(refused.Hint, "install Nix on the host") {
		t.Errorf("without Nix: %v", err)
	}
}

type noNix struct{ *hosttest.Nix }

func (noNix) Version(context.Context) (nix.Version, error) { return nix.Version{}, nix.ErrNoNix }
