// Package target finds out who answers at the address that a deployment takes for
// its guest's: the guest is asked beside the host (Knock), the answer is held against
// what the configuration and the host know of the VM (Meeting), and what a host has
// recorded as the address is a Hint until somebody confirms it. It must not know
// which step of a deployment comes next, nor what becomes of the VM.
package target
