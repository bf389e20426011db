package deploy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/flake"
	"ferry/internal/hostapi"
)

// An evaluation of last month deploys what it was evaluated to. The user is told its
// age, and warned where another revision was deployed since.
func TestOldEvaluationSaysSo(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // as synctest has it
	month := now.AddDate(0, -1, 0)
	origin := func(revision string, started time.Time) *hostapi.Deployment {
		return &hostapi.Deployment{By: "ann@laptop", Revision: revision, Started: started}
	}
	const mine, other = "aaaaaaaaaaaaaaaaaaaa-dirty", "bbbbbbbbbbbbbbbbbbbb"
	for _, c := range []struct {
		name      string
		changed   time.Time
		there     *hostapi.Deployment
		old, warn bool
		notGiven  bool
	}{
		{name: "of today, nothing known there", changed: now.Add(-time.Hour)},
		{name: "of last month", changed: month, old: true},
		{name: "another revision since", changed: month, there: origin(other, now.AddDate(0, 0, -2)), old: true, warn: true},
		{name: "another revision before", changed: month, there: origin(other, month.AddDate(0, 0, -2)), old: true},
		{name: "the same revision, with changes", changed: month, there: origin("aaaaaaaaaaaaaaaaaaaa", now.AddDate(0, 0, -2)), old: true},
		{name: "of nobody knows when", there: origin(other, now.AddDate(0, 0, -2))},
		{name: "by ferry", there: origin(other, now.AddDate(0, 0, -2)), notGiven: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := func(w *world) {
				probes(func(f *hostapi.Facts) { f.Origin = c.there })(w)
				w.ev.Revision = mine
				if !c.notGiven {
					w.ev.Given = &flake.Given{File: "x.json", LastModified: c.changed}
				}
			}
			w, _, err := play(t, scenario{world: world, run: rebuild(nil)}, t.TempDir(), fault{})
			if err != nil {
				t.Fatal(err)
			}
			said := func(text string) bool {
				return slices.ContainsFunc(w.trace, func(l string) bool { return strings.Contains(l, text) })
			}
			if said("evaluated before, from the flake as it was on 1999-12-01 00:00 UTC (revision aaaaaaaaaaaa-dirty)") != c.old {
				t.Errorf("told of its age: %v; %q", !c.old, w.trace)
			}
			if said("warn web: revision bbbbbbbbbbbb was deployed on 1999-12-30 00:00 UTC by ann@laptop") != c.warn {
				t.Errorf("warned: %v; %q", !c.warn, w.trace)
			}
		})
	}
}
