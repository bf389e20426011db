// Package helper is ferry on a host: sessions, listing, a VM's life, what is left
// of interrupted deployments, setting a host up, and `microvm`. It owns these
// commands' words and parses them; what they do is internal/host's and
// internal/microvmcmd's. It must not know SSH, other machines or how a deployment
// goes.
package helper
