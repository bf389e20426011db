// Package e2e shows ferry with real parts: Nix, OpenSSH and systemd in the
// lab's containers, and guests in QEMU. Its tests need root and the build tag
// `lab`; test/run runs them for `make test`. Each test works on a flake and VMs of its own.
package e2e
