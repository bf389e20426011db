package hydra

import (
	"fmt"
	"regexp"
)

const maxNameLength = 256 // bytes

// The grammar of Hydra's names (CatalystUtils.pm, "Security checking"), but that
// a part of a job's name may begin with a digit, as attributes of a flake may.
var (
	projectPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	jobsetPattern  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	jobPattern     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_'+-]*(\.[A-Za-z0-9_][A-Za-z0-9_'+-]*)*$`)
	systemPattern  = regexp.MustCompile(`^[a-z0-9_]+-[a-z0-9_]+$`)
)

// Job names a job; ParseJob has checked it.
type Job struct{ Project, Jobset, Name string }

// String is `PROJECT/JOBSET/JOB`.
func (j Job) String() string { return j.Project + "/" + j.Jobset + "/" + j.Name }

// ParseJob checks the names of a job.
func ParseJob(project, jobset, job string) (Job, error) {
	if err := CheckJobset(project, jobset); err != nil {
		return Job{}, err
	}
	if err := checkName("job", job, jobPattern); err != nil {
		return Job{}, err
	}
	return Job{Project: project, Jobset: jobset, Name: job}, nil
}

// CheckJobset checks the names of a project and of a jobset.
func CheckJobset(project, jobset string) error {
	if err := checkName("project", project, projectPattern); err != nil {
		return err
	}
	return checkName("jobset", jobset, jobsetPattern)
}

func checkName(what, name string, pattern *regexp.Regexp) error {
	switch {
	case name == "":
		return fmt.Errorf("the name of Hydra's %s is empty", what)
	case len(name) > maxNameLength || !pattern.MatchString(name):
		return fmt.Errorf("%.80q is not a valid name of a %s in Hydra", name, what)
	}
	return nil
}

// Which of a job's successful builds is wanted. The zero value is the newest one
// of an evaluation whose builds have all ended.
type Which struct {
	Any    bool   // the newest one, whatever else is still being built
	System string // the newest one for this system, such as x86_64-linux
}

// ParseWhich reads the last part of Hydra's own addresses: `latest-finished`
// (also for an empty one), `latest` or `latest-for/SYSTEM`.
func ParseWhich(s string) (Which, error) {
	const forSystem = "latest-for/"
	switch {
	case s == "" || s == "latest-finished":
		return Which{}, nil
	case s == "latest":
		return Which{Any: true}, nil
	case len(s) > len(forSystem) && s[:len(forSystem)] == forSystem:
		return Which{System: s[len(forSystem):]}, checkName("system", s[len(forSystem):], systemPattern)
	}
	return Which{}, fmt.Errorf("expected latest-finished, latest or latest-for/SYSTEM, not %.80q", s)
}

func (w Which) path() []string {
	switch {
	case w.System != "":
		return []string{"latest-for", w.System}
	case w.Any:
		return []string{"latest"}
	}
	return []string{"latest-finished"}
}
