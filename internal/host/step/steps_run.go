//go:build !faults && !model

package step

// reach is where a build for tests is held or broken off, see steps_hold.go and
// steps_model.go.
func reach(Step) {}
