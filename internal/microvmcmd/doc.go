// Package microvmcmd is the `microvm` command, microvm.nix's imperative tool, as run
// on the host itself: it owns the command's options, what each of them means,
// and the evaluation of the flakes that VMs are updated from. What is done to a
// VM is internal/host's; it must not know systemd, links or how Nix is called.
package microvmcmd
