// Package manage is a VM's life besides deployments, from the operator's side:
// it owns how a host or a VM's host is found by name, and what one thing at a time
// is asked of ferry's helper there. What happens on the host
// is internal/host's; it must not know how a terminal looks or what the answers
// of a command mean to a person.
package manage
