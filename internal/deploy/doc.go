// Package deploy brings one VM to a new state, from the operator's side: resolve,
// connect, find the runner, foresee, prepare, obtain, decide, activate, commit,
// finish. It owns the order of these steps (steps.go), which runner is wanted, what
// a guest out of reach means, and what is said about all of it. What happens on the
// host is internal/host's, what happens in the guest internal/guest's; it must not
// know how words are quoted, how Nix is called or how a terminal looks.
//
// Beside it are its rooms: what is wanted of a deployment (request) and what it did
// (result), how a closure gets onto the host (transfer), the host over connections
// that are lost (hostlink), who answers at the guest's address (target), the live
// switch (live), the look into a guest that boots (restart), and what is remembered
// for attaching (memory).
package deploy
