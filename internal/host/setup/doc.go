// Package setup makes a systemd machine with Nix a host of MicroVMs, and undoes
// exactly that. It owns what a host has besides its VMs: user and group,
// directories, unit files, ferry's own binary, and the manifest that remembers
// which of these it made. It must not know deployments or a VM's links.
package setup
