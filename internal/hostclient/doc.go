// Package hostclient is the operator's one way to talk to ferry's helper on a host.
// It owns finding, starting and uploading the helper over a remote.Conn, the
// session with it (requests and answers with their ids, what the helper says
// meanwhile, the signs of life of both sides, the bounds of what a host may send),
// and the streams of bytes beside it. docs/protocol.md is what both sides keep to.
// It must not know how ssh works, what a deployment is made of, or what a host does
// with a request. Tests of its users have a helper of their own, in hostclienttest.
package hostclient
