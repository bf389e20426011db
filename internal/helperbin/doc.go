// Package helperbin has the programs that ferry brings to hosts: the helper for
// each platform, which release builds of ferry contain, and ferry itself. It must
// not know how they get there.
package helperbin
