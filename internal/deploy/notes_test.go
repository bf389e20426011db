package deploy

import (
	"slices"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// What changes without the runner is said once per result, of VMs that use it and run,
// and for which no restart is due.
func TestWhatIsReadAtStartIsNoted(t *testing.T) {
	up := hostapi.Facts{VM: hostapi.VMState{Unit: hostapi.UnitState{ActiveState: "active"}}}
	uses := microvm.Record{CredentialFiles: []string{"KEY", "TOKEN"}, ExtraArgsScript: true}
	both := []string{
		"credential files (KEY, TOKEN) are read at each start: --restart=always applies what has changed",
		"the arguments that extraArgsScript yields are read at each start: --restart=always applies what has changed",
	}
	for name, tt := range map[string]struct {
		p    progress
		want []string
	}{
		"not used":        {progress{facts: up}, nil},
		"used":            {progress{facts: up, record: uses}, both},
		"not running":     {progress{record: uses}, nil},
		"a restart due":   {progress{facts: up, record: uses, plan: hostapi.Plan{Waits: []string{"memory 1 → 2 MiB"}}}, nil},
		"more than a few": {progress{facts: up, record: microvm.Record{CredentialFiles: []string{"A", "B", "C", "D", "E", "F", "G"}}}, []string{"credential files (A, B, C, D, E, F, …) are read at each start: --restart=always applies what has changed"}},
	} {
		if got := tt.p.startNotes(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, wanted %q", name, got, tt.want)
		}
	}
}

func TestNotesAreOfResultsThatStartNothing(t *testing.T) {
	up := hostapi.Facts{VM: hostapi.VMState{Unit: hostapi.UnitState{ActiveState: "active"}}}
	p := progress{facts: up, record: microvm.Record{ExtraArgsScript: true}, result: result.Result{}}
	if p = p.nothingLeft(); len(p.result.Notes) != 1 {
		t.Errorf("unchanged: %q", p.result.Notes)
	}
	p.to.DryRun, p.result = true, result.Result{}
	if p = p.nothingLeft(); len(p.result.Notes) != 0 {
		t.Errorf("dry run: %q", p.result.Notes)
	}
}
