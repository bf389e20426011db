// Package manage is a VM's life on its host besides deployments, one command at a
// time: start, stop and restart, remove, whether it starts with the host, its
// generations and what differs between two. It owns the order of what such a
// command does, under the VM's lock. It must not know sessions or notes of
// deployments.
//
// Entry points: Open, Machine.
package manage
