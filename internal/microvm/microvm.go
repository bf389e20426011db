// Package microvm holds the words of ferry's domain: names, addresses, the
// record of a VM, what a host and a guest report. It knows no SSH, no Nix
// command line and no systemd, and imports nothing else of ferry.
package microvm
