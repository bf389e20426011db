// Package flake reads the operator's flake, a Nix file in its place, or what was
// evaluated before: the record of one MicroVM, and the `ferry` output that names hosts
// and targets. It owns the Nix expression, the cache of evaluations and the schema of
// that output. It knows Nix only through internal/nix, and nothing of hosts, SSH or
// deployments.
package flake
