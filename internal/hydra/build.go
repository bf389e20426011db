package hydra

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ferry/internal/microvm"
)

// Build is a build as Hydra describes it.
type Build struct {
	ID       int64
	URL      string // its page
	Job      Job
	System   string            // x86_64-linux
	Finished bool              // false: Status means nothing
	Status   int64             // 0: succeeded
	Stopped  time.Time         // zero where Hydra doesn't say
	Out      microvm.StorePath // empty where the build has no output of that name
}

// Jobset is what a jobset builds.
type Jobset struct {
	Project, Name string
	Flake         string // a flake reference; empty for a jobset without a flake
}

// fields are an object's members, to be taken one by one; the first error stays.
type fields struct {
	members map[string]json.RawMessage
	err     error
}

func parseFields(body []byte) (*fields, error) {
	var f fields
	if err := json.Unmarshal(body, &f.members); err != nil {
		return nil, fmt.Errorf("it is not a JSON object: %w", err)
	}
	if f.members == nil {
		return nil, errors.New("it is null instead of a JSON object")
	}
	return &f, nil
}

// take decodes one member. Null counts as missing: that is how Perl writes it.
func (f *fields) take(name, kind string, to any) bool {
	raw, ok := f.members[name]
	if f.err != nil {
		return false
	}
	if !ok || string(raw) == "null" {
		f.err = fmt.Errorf("it has no `%s`", name)
		return false
	}
	if err := json.Unmarshal(raw, to); err != nil {
		f.err = fmt.Errorf("its `%s` is %.60s instead of %s", name, raw, kind)
		return false
	}
	return true
}

func (f *fields) integer(name string) (n int64) {
	f.take(name, "an integer", &n)
	return n
}

func (f *fields) text(name string) (s string) {
	f.take(name, "a string", &s)
	return s
}

// flag reads a boolean, which Hydra writes as 0 or 1 (its API description says
// true and false).
func (f *fields) flag(name string) (set bool) {
	raw := f.members[name]
	if string(raw) == "true" || string(raw) == "false" {
		return string(raw) == "true"
	}
	n := f.integer(name)
	if f.err == nil && n != 0 && n != 1 {
		f.err = fmt.Errorf("its `%s` is %d instead of 0 or 1", name, n)
	}
	return n == 1
}

func parseBuild(body []byte) (Build, error) {
	f, err := parseFields(body)
	if err != nil {
		return Build{}, err
	}
	b := Build{
		ID: f.integer("id"), Finished: f.flag("finished"), System: f.text("system"),
		Job: Job{Project: f.text("project"), Jobset: f.text("jobset"), Name: f.text("job")},
	}
	if f.err == nil && b.ID < 1 {
		f.err = fmt.Errorf("its `id` is %d", b.ID)
	}
	if b.Finished {
		// Without an end they are null.
		b.Status = f.integer("buildstatus")
		if stop := f.integer("stoptime"); stop > 0 {
			b.Stopped = time.Unix(stop, 0).UTC()
		}
	}
	if b.Finished && b.Status == 0 {
		b.Out = f.output()
	}
	return b, f.err
}

// output is the path of the output `out`; empty where there is none.
func (f *fields) output() microvm.StorePath {
	var outputs map[string]struct {
		Path *string `json:"path"`
	}
	if !f.take("buildoutputs", "an object of objects with a `path`", &outputs) {
		return ""
	}
	out, ok := outputs["out"]
	switch {
	case !ok:
		return ""
	case out.Path == nil:
		f.err = errors.New("its `buildoutputs.out` has no `path`: Hydra doesn't say where content-addressed builds are")
		return ""
	}
	p, err := microvm.ParseStorePath(*out.Path)
	if err == nil && p.IsDerivation() {
		err = fmt.Errorf("%s is a derivation", p)
	}
	if err != nil {
		f.err = fmt.Errorf("its `buildoutputs.out.path`: %w", err)
		return ""
	}
	return p
}

// check says why the build is not one to use for job.
func (b Build) check(job Job, which Which) error {
	switch {
	case b.Job.Project != job.Project || b.Job.Name != job.Name:
		return &BuildError{Build: b, Why: fmt.Sprintf("it is of job %s, but %s was asked for", b.Job, job)}
	case b.Job.Jobset != job.Jobset:
		return &RenamedError{Asked: job.Project + "/" + job.Jobset, Now: b.Job.Project + "/" + b.Job.Jobset}
	case !b.Finished:
		return &BuildError{Build: b, Why: "it isn't finished"}
	case b.Status != 0:
		return &BuildError{Build: b, Why: statusText(b.Status)}
	case which.System != "" && b.System != which.System:
		return &BuildError{Build: b, Why: fmt.Sprintf("it is for %.40q, but %s was asked for", b.System, which.System)}
	case b.Out == "":
		return &BuildError{Build: b, Why: "it has no output named `out`"}
	}
	return nil
}

// statusText says what a buildstatus means (hydra-api.yaml).
func statusText(status int64) string {
	switch status {
	case 1:
		return "it failed"
	case 2:
		return "a dependency of it failed"
	case 3, 9:
		return "it was aborted"
	case 4:
		return "somebody cancelled it"
	case 6:
		return "it failed, with output"
	case 7:
		return "it timed out"
	case 10:
		return "its log became too long"
	case 11:
		return "its output became too large"
	}
	return fmt.Sprintf("it failed (buildstatus %d)", status)
}

func parseJobset(body []byte) (Jobset, error) {
	f, err := parseFields(body)
	if err != nil {
		return Jobset{}, err
	}
	j := Jobset{Project: f.text("project"), Name: f.text("name")}
	if raw := f.members["flake"]; f.err == nil && len(raw) > 0 && string(raw) != "null" {
		j.Flake = f.text("flake") // a jobset of Nix expressions has none
	}
	return j, f.err
}
