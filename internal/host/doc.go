// Package host is what runs on the server that runs MicroVMs, as root: it owns
// the state directory, the garbage collector roots, generations, units and the
// history of VMs there, and the protocol by which the operator's side drives
// it. It must not know SSH, flakes or the guest's inside.
//
// Entry points: Serve (one deployment, driven line by line), Probe (facts, also
// by hand), Units (the unit files a host needs).
package host
