package inventory

import (
	"os"
	"path/filepath"
	"testing"

	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
)

// See ../vmstate/testdata/v0/README.md.
func TestDeploymentsOfVersion0AreUnderWay(t *testing.T) {
	for name, phase := range map[string]hostapi.Phase{
		"undo": hostapi.PhaseUndo, "activating": "", "prepared": "", "commit-live": hostapi.PhaseCommit,
		"commit": hostapi.PhaseCommit, "restart": hostapi.PhaseRestart, "await": hostapi.PhaseAwait, "done": hostapi.PhaseDone,
	} {
		l := vmstate.Layout{Lib: filepath.Join(t.TempDir(), "lib")} // a copy: looking at a lock opens it
		if err := os.CopyFS(l.Lib, os.DirFS(filepath.Join("../vmstate/testdata/v0", name, "lib"))); err != nil {
			t.Fatal(err)
		}
		found, err := Underway(l, hostapi.UnderwayRequest{})
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %+v, %v", name, found, err)
		}
		u := found[0]
		if u.Name != "web" || u.Phase != phase || u.Working || u.Outcome != "" || u.Deployment.ID == "" {
			t.Errorf("%s: %+v", name, u)
		}
		h, err := l.VM("web").History().Read(100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range h.Entries { // those that have ended are found, too
			if ended, err := Underway(l, hostapi.UnderwayRequest{ID: e.ID}); err != nil || len(ended) != 1 || ended[0].Outcome != e.Outcome {
				t.Errorf("%s: %s: %+v, %v", name, e.ID, ended, err)
			}
		}
	}
}
