// Package result is what a deployment did: its outcome, as JSON and in words. It must
// not know how it went there.
package result
