// Package option has the options that several commands share: how each is called,
// explained and checked, and what it means for a deployment. It must not know what a
// command does with them.
package option
