// Package flakeupdate updates a flake's lock file on a branch for updates: in a
// work tree of its own, so that the user's one, its index and all other branches
// stay as they are. It owns what goes on in git, and must not know what is built
// from the flake.
package flakeupdate
