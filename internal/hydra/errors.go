package hydra

import "fmt"

// NotFoundError is a job or jobset that Hydra doesn't know, or a job without a
// successful build.
type NotFoundError struct {
	Server string
	What   string // "has no successful build of job …", "knows no jobset …"
	Said   string // Hydra's own words; may be empty
}

func (e *NotFoundError) Error() string {
	msg := e.Server + " " + e.What
	if e.Said != "" {
		msg += ": " + e.Said
	}
	return msg
}

// Hint is what to do next.
func (e *NotFoundError) Hint() string {
	return "check the names of project, jobset and job there, and that the job has been built with success"
}

// BuildError is a build that is not one to use.
type BuildError struct {
	Build Build
	Why   string
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("build %d (%s) can't be used: %s", e.Build.ID, e.Build.URL, e.Why)
}

// RenamedError is a jobset that has another name by now.
type RenamedError struct{ Asked, Now string }

func (e *RenamedError) Error() string {
	return fmt.Sprintf("Hydra answers for jobset %.120q instead of %s", e.Now, e.Asked)
}

// Hint is what to do next.
func (e *RenamedError) Hint() string {
	return "if the jobset was renamed, use its new name"
}

// ContentError is an answer that isn't what Hydra's API promises.
type ContentError struct {
	URL string
	Err error
}

func (e *ContentError) Error() string {
	return fmt.Sprintf("the answer of %s is not Hydra's: %v", e.URL, e.Err)
}

// Unwrap gives what is wrong with it.
func (e *ContentError) Unwrap() error { return e.Err }

// Hint is what to do next.
func (e *ContentError) Hint() string { return "is that the address of a Hydra?" }
