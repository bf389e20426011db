// Package deploy brings one VM to a new state, from the operator's side:
// evaluate, look, ship, build, decide, activate, confirm, commit. It owns the
// order of these steps and what is said about them. What happens on the host is
// internal/host's, what happens in the guest internal/guest's; it must not know
// how words are quoted, how Nix is called or how a terminal looks.
package deploy
