// Package transfer is how a closure gets onto a host: derivations are shipped
// and built there, or what was built elsewhere is pushed, or what a cache has is
// relayed by way of this machine; where sudo wants a password, all of it goes as
// a stream through the helper. It owns these ways, what a garbage collection on
// the host may take meanwhile, and whether the host's Nix would take what comes.
// It must not know which runner a VM should have, or what becomes of it there.
package transfer
