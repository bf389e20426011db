package deploy

import (
	"cmp"
	"strings"
	"time"
)

// oldEvaluation is after how long the user is told how old a flake is whose
// evaluation was made before.
const oldEvaluation = 24 * time.Hour

// sayGiven tells where the record comes from: what is deployed is the flake as it was
// then, whatever it is now.
func (r *run) sayGiven(p progress) {
	changed := p.given.LastModified
	if changed.IsZero() || time.Since(changed) < oldEvaluation {
		r.say.Detail("evaluated before: %s, in %s", p.record.Runner.Drv, p.given.File)
		return
	}
	r.say.Step("evaluated before, from the flake as it was on %s (%s)", day(changed), revisionOr(p.revision, "no revision"))
}

// warnOfNewer warns where an evaluation of long ago may undo what was installed since:
// another revision, by a deployment that began after the flake's last change.
func (r *run) warnOfNewer(p progress) {
	there := p.facts.Origin
	if p.given == nil || there == nil || p.given.LastModified.IsZero() || p.revision == "" || p.facts.VM.Current == p.record.Runner.Out {
		return
	}
	if clean(there.Revision) == clean(p.revision) || !there.Started.After(p.given.LastModified) {
		return
	}
	r.say.Warn("%s: revision %s was deployed on %s by %s, and what is deployed now was evaluated from revision %s of %s; if that is the older one, evaluate again from the flake",
		p.to.Name, short(there.Revision), day(there.Started), cmp.Or(there.By, "somebody"), short(p.revision), day(p.given.LastModified))
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// clean is a revision without what says that files were changed since.
func clean(revision string) string { return strings.TrimSuffix(revision, "-dirty") }

// short is a revision as people write it.
func short(revision string) string {
	const most = 12
	c := clean(revision)
	return c[:min(len(c), most)] + revision[len(c):]
}

func revisionOr(revision, otherwise string) string {
	if revision == "" {
		return otherwise
	}
	return "revision " + short(revision)
}
