// Package lab makes a small world of real parts on one Debian machine: an
// operator and hosts in systemd-nspawn containers with systemd, sshd and Nix,
// guests under QEMU or in containers, and a flake whose configurations have the
// shape of microvm.nix's. It owns everything below its root directory, its
// network namespace and its control groups, and touches nothing else of the
// machine but the cache of root file systems.
//
// It knows nothing of how ferry deploys: it is used by ferry's tests and its
// demo, and is never shipped.
package lab
