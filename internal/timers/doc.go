// Package timers has a host work by itself: a timer that updates its VMs, and
// one that updates a flake for CI to build. It owns the settings file, the units
// and their life, and must not know how an update goes.
package timers
