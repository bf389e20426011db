// Package request is what a user wants of a deployment, and what the flake and the host
// add to it: addresses, policies, what shows that it is well. It must not know how a
// deployment goes.
package request
