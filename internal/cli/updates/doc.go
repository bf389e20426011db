// Package updates has the commands for updates: `ferry update`, `ferry flake-update`,
// and the timers on hosts that run both. It parses, says which VMs are meant and where,
// and prints; how an update goes is internal/deploy's, what a timer is internal/timers'.
package updates
