// Package guest is the live switch: what ferry does inside a running MicroVM
// over SSH. It owns the shell scripts that run there and reads their answers.
// It must not know the host, Nix on the operator or how a deployment goes on.
//
// The guest gets no binary: the scripts are POSIX sh and need systemd and, to
// register the new closure, the Nix of the system that is switched to.
package guest
