// Package live is a switch of a running guest as the operator sees it, from its
// beginning until it is confirmed, undone or left: it starts the switch, follows
// it over new connections, has it confirmed over a connection of its own, tells
// the guest to go back, and sees what it runs then. It owns that order, and the
// ways to reach a guest again. What runs in the guest is internal/guest's. It
// must not know what comes before and after on the host: what it needs of the
// host is an interface.
package live
