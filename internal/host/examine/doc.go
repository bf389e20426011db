// Package examine looks at a host as a deployment would meet it: Nix, disks, units,
// owners, what was left. It changes nothing, says what it could not find out, and
// passes no verdict.
package examine
