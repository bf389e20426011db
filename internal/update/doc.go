// Package update finds out which runner a VM should have: from Hydra, or from a
// file or URL that any CI writes. It owns the sources and the rule which builds
// are for which VM. How a runner gets onto a host is not its concern: it copies,
// builds and evaluates nothing.
package update
