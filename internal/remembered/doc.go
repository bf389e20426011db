// Package remembered keeps what the operator's machine must know to go on with a
// deployment that was left, and what the user has confirmed: one small document for
// each, in a directory of the user's own, of bounded number and age. It must not know what is in them.
package remembered
