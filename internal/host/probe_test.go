package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/nix"
)

// A distribution's Nix makes its store when root first uses it.
func TestProbeTakesANixThatWasNeverUsed(t *testing.T) {
	h := newTestHost(t)
	if err := os.RemoveAll(filepath.Join(h.layout.Root, "nix")); err != nil {
		t.Fatal(err)
	}
	if f, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: web}); err != nil || f.FreeBytes == 0 {
		t.Errorf("%+v, %v", f, err)
	}
	srv := h.server()
	srv.nix = noNix{h.nix}
	var refused *hostapi.Failure
	_, err := srv.Probe(t.Context(), hostapi.ProbeRequest{Name: web})
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "the host has no Nix store") || !strings.Contains(refused.Hint, "install Nix on the host") {
		t.Errorf("without Nix: %v", err)
	}
}

type noNix struct{ *fakeNix }

func (noNix) Version(context.Context) (nix.Version, error) { return nix.Version{}, nix.ErrNoNix }
