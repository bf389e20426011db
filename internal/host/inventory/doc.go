// Package inventory is what VMs a host has and how each of them is now: its links,
// its unit and what runs, for a list and for who is about to change one. It owns
// how disk and systemd are read together, and changes nothing. It must not know
// what is done about what it finds.
//
// Entry points: Observer (one VM, as root), Lister (all, for anybody), Underway.
package inventory
