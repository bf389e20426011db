// Package hostlink is the host of one deployment as the operator holds it: a login
// and a session with the helper, both made again where they are lost. It owns what
// is asked for in a way that survives that: the host may have done what it was
// asked, and tells so over the new connection. It must not know which step comes
// next, or what a guest says.
package hostlink
