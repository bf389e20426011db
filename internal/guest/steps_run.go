//go:build !faults

package guest

// holdScript defines `at`, where a build with the tag `faults` can be held, see
// steps_hold.go.
const holdScript = "at() { :; }\n"
