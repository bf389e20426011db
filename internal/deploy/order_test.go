package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ferry/internal/deploy/request"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/update"
)

const job = "https://hydra/job/infra/main/web"

// jobSource is a Hydra whose newest build of web has a number.
type jobSource int64

func (s jobSource) Latest(context.Context, microvm.Name) (update.Found, error) {
	return update.Found{Runner: newRun, Build: "https://hydra/build/1", Job: job, ID: int64(s)}, nil
}
func (jobSource) String() string { return "hydra" }

// A server that answers with an older build of the job than the one installed
// brings nothing back. Where the order is not known, the user is told.
func TestOlderBuildIsRefused(t *testing.T) {
	at := func(job string, id int64) *hostapi.JobBuild { return &hostapi.JobBuild{Job: job, ID: id} }
	for _, c := range []struct {
		name             string
		installed        *hostapi.JobBuild
		build            int64
		older, there     bool
		refused, unknown bool
	}{
		{name: "newer", installed: at(job, 6), build: 7},
		{name: "older", installed: at(job, 8), build: 7, refused: true},
		{name: "older, as meant", installed: at(job, 8), build: 7, older: true},
		{name: "older, but the same runner", installed: at(job, 8), build: 7, there: true},
		{name: "of another job", installed: at(job+"2", 8), build: 7, unknown: true},
		{name: "of nobody knows what", build: 7, unknown: true},
		{name: "from a file", installed: at(job, 8), build: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			installed := probes(func(f *hostapi.Facts) {
				f.Installed = c.installed
				if c.there {
					f.VM.Current = newRun
				}
			})
			run := updates(func(r *request.Update) { r.Source, r.AllowOlder = jobSource(c.build), c.older })
			w, _, err := play(t, scenario{world: installed, run: run}, t.TempDir(), fault{})
			var failure *hostapi.Failure
			if c.refused != (errors.As(err, &failure) && strings.Contains(failure.Message, "build 7 is older than build 8")) || !c.refused && err != nil {
				t.Errorf("%v", err)
			}
			if c.refused && (w.count["host prepare"] > 0 || !strings.Contains(failure.Hint, "--allow-older")) {
				t.Errorf("hint %q; %q", failure.Hint, w.trace)
			}
			said := slices.ContainsFunc(w.trace, func(l string) bool { return strings.Contains(l, "is not known: that is not from a build of "+job) })
			if said != c.unknown {
				t.Errorf("said: %v; %q", said, w.trace)
			}
		})
	}
}

// What is written down of a deployment is what the next one is compared with.
func TestBuildIsNotedWithItsJob(t *testing.T) {
	claim := prebuilt{req: request.Update{Source: jobSource(7)}, found: update.Found{Runner: newRun, Job: job, ID: 7}}.claim(progress{})
	if d := claim.Deployment; d.Job != job || d.BuildID != 7 {
		t.Errorf("%+v", d)
	}
}
