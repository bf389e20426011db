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
	"ferry/internal/microvm"
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

// microvm.nix's commands know a VM by its host name, ferry's by its attribute: where
// they differ, one VM must not get two directories, whichever comes first.
func TestProbeRefusesASecondDirectoryForOneVM(t *testing.T) {
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.MakeVM("frontend", map[string]string{"current": string(hosttest.RunnerA)}) // with the host name web
	h.MakeVM("broken", map[string]string{"current": string(hosttest.RunnerB)})
	h.MakeVM("empty", nil)

	probe := func(n microvm.Name) error {
		rec := recordOf(hosttest.RunnerC)
		rec.Name, rec.HostName = n, "web"
		_, err := h.server().Probe(t.Context(), hostapi.ProbeRequest{Name: n, Record: &rec, Intent: hostapi.Intent{Action: hostapi.ActionSwitch}})
		return err
	}
	var refused *hostapi.Failure
	if err := probe(web); !errors.As(err, &refused) || !strings.Contains(refused.Hint, "use --name frontend") {
		t.Errorf("a new VM named as the host name of another: %v", err)
	}
	if err := probe("frontend"); err != nil {
		t.Errorf("the VM itself: %v", err)
	}
	if err := probe("other"); err != nil {
		t.Errorf("another with the same host name, which neither is named after: %v", err)
	}
	h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerA)})
	if err := probe(web); err != nil {
		t.Errorf("both are there already: %v", err)
	}
}
