// Package cmdline is what ferry's command lines have in common, the operator's
// and the host's: wrong usage, exit codes, values of flags, the version. It must
// not know any command.
package cmdline
