package flakeupdate

import (
	"fmt"
	"strings"
)

// Outcome is how an update ended.
type Outcome string

const (
	// Unchanged: nothing is new, no branch moved.
	Unchanged Outcome = "unchanged"
	// Updated: inputs moved, and so did the branch.
	Updated Outcome = "updated"
	// CaughtUp: no input moved, but the branch got what it lacked of the default
	// branch.
	CaughtUp Outcome = "caught-up"
	// Pushed: nothing is new, but the remote lacked what an earlier run did.
	Pushed Outcome = "pushed"
)

// Result is what an update did.
type Result struct {
	Branch  string   `json:"branch"`
	Outcome Outcome  `json:"outcome"`
	Flake   string   `json:"flake"`            // its flake.nix, seen from the top of the repository
	Commit  string   `json:"commit,omitempty"` // where the branch is now, if it moved
	Remote  string   `json:"remote,omitempty"` // that was pushed to
	Inputs  []Change `json:"inputs,omitempty"` // that moved, by name
}

// Text is the result for people.
func (r *Result) Text() string {
	var b strings.Builder
	where := r.Branch
	if r.Remote != "" {
		where += ", pushed to " + r.Remote
	}
	switch r.Outcome {
	case Updated:
		what := fmt.Sprintf("%d inputs moved", len(r.Inputs))
		switch len(r.Inputs) {
		case 0:
			what = "the lock file changed, no input moved"
		case 1:
			what = "1 input moved"
		}
		fmt.Fprintf(&b, "%s: %.10s on %s\n", what, r.Commit, where)
	case CaughtUp:
		fmt.Fprintf(&b, "no input moved; %.10s on %s has what was done since\n", r.Commit, where)
	case Pushed:
		fmt.Fprintf(&b, "no input moved; pushed %.10s of %s to %s, which lacked it\n", r.Commit, r.Branch, r.Remote)
	default:
		fmt.Fprintf(&b, "no input moved; %s stays as it is\n", r.Branch)
	}
	for _, c := range r.Inputs {
		fmt.Fprintf(&b, "  %s\n", c)
	}
	return b.String()
}
