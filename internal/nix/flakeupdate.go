package nix

import "context"

// FlakeUpdate is one update of a flake's lock file. What is in it is trusted: the
// caller has checked it.
type FlakeUpdate struct {
	Flake   string   // a reference to a flake in a git work tree
	Inputs  []string // those to update; none: all
	Options []string
	Env     []string // KEY=value, added for Nix and for the git that it runs
}

// FlakeUpdate brings inputs of a flake up to date and commits the lock file,
// where that changed anything. It takes nothing that was downloaded before for
// the newest. A failure is an *EvalFailure.
func (n *Nix) FlakeUpdate(ctx context.Context, u FlakeUpdate) error {
	args := append(nixArgs("flake", "update", "--commit-lock-file"), u.Options...)
	args = append(args, "--flake", u.Flake, "--")
	with := *n
	with.Env = append(append([]string{}, n.Env...), u.Env...)
	_, _, err := with.evaluate(ctx, append(args, u.Inputs...))
	return err
}
