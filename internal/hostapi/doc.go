// Package hostapi is the words that operator and host exchange: requests and their
// answers, failures, outcomes and phases, what is listed and recorded. Both sides
// build on it and it builds on neither: it must not know how a host does what is
// asked, nor how an operator asks.
package hostapi
