// Package shell writes words for a POSIX shell: the one place that quotes them.
// It must not know what they are for.
package shell
