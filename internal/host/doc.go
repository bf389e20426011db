// Package host is the sessions on the server that runs MicroVMs, as root: by the
// operator's requests a deployment is prepared, built or fetched, activated,
// committed, and undone or settled where it does not end well. It owns the order
// of these steps and the units that guard them. It must not know SSH, flakes or
// the guest's inside.
//
// Its rooms have what it is made of: what a commit does on disk (install), whether the
// VM is well (prove), putting it back (undo), and ending what was left unfinished
// (unfinished, by the verdicts of settle).
//
// Entry points: Serve (one deployment, driven line by line), NewServer (single
// requests, and deployments of `microvm`), Guard.
package host
