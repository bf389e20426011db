// Package vmstate is one VM on its host's disk: the links of its directory, its
// garbage collector roots and generations, what ferry notes of it, its history
// and its lock. It owns where all of that is and how it is changed so that a
// crash leaves each piece old or new. It must not know of units, of Nix's
// command line or of the order of a deployment's steps.
//
// Entry points: DefaultLayout, Layout.VM.
package vmstate
