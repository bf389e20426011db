package update

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"ferry/internal/fetch"
	"ferry/internal/hydra"
	"ferry/internal/microvm"
)

// vmPlace stands for the VM's name in the name of a job.
const vmPlace = "{vm}"

// Hydra takes each VM's newest successful build from a jobset.
type Hydra struct {
	hydra           *hydra.Hydra
	project, jobset string
	job             string // with vmPlace where the name differs from VM to VM
	which           hydra.Which
	anyFlake        bool

	mu    sync.Mutex
	flake string // once known
	only  onlyVM
}

// HydraOptions are what the address of a jobset doesn't say.
type HydraOptions struct {
	Client *fetch.Client
	// AnyFlake takes builds whatever the VMs' `flake` files say, also of a jobset
	// that builds no flake.
	AnyFlake bool
}

// NewHydra reads an address as Hydra's own pages have it:
//
//	https://hydra.example.org/jobset/PROJECT/JOBSET
//	https://hydra.example.org/job/PROJECT/JOBSET/JOB[/latest-finished|/latest|/latest-for/SYSTEM]
//
// In JOB, `{vm}` stands for the VM's name; with the first form the job is `{vm}`.
func NewHydra(address string, o HydraOptions) (*Hydra, error) {
	u, err := fetch.CheckURL(address)
	if err != nil {
		return nil, err
	}
	base, words, err := splitHydraPath(u)
	if err != nil {
		return nil, err
	}
	s := &Hydra{project: words[1], jobset: words[2], job: vmPlace, anyFlake: o.AnyFlake}
	if words[0] == "job" {
		s.job = words[3]
		if s.which, err = hydra.ParseWhich(strings.Join(words[4:], "/")); err != nil {
			return nil, err
		}
	}
	if _, err := s.jobFor("vm"); err != nil {
		return nil, err
	}
	client := o.Client
	if client == nil {
		client = &fetch.Client{}
	}
	s.hydra, err = hydra.New(base, client)
	return s, err
}

// splitHydraPath separates Hydra's own address from the words of the page's:
// `job` with at least four, or `jobset` with three.
func splitHydraPath(u *url.URL) (base string, words []string, err error) {
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	for i, p := range parts {
		rest := parts[i:]
		if p == "job" && len(rest) >= 4 || p == "jobset" && len(rest) == 3 {
			b := *u
			b.Path, b.RawPath = strings.Join(parts[:i], "/"), ""
			if b.RawQuery != "" || strings.Contains(u.RawPath, "%2F") {
				break
			}
			return b.String(), rest, nil
		}
	}
	return "", nil, &addressError{address: u.Redacted()}
}

type addressError struct{ address string }

func (e *addressError) Error() string {
	return fmt.Sprintf("%.200q is not the address of a jobset or job of Hydra", e.address)
}

// Hint is what to do next.
func (e *addressError) Hint() string {
	return "expected https://HYDRA/jobset/PROJECT/JOBSET or https://HYDRA/job/PROJECT/JOBSET/{vm}"
}

// String is the address of the job.
func (s *Hydra) String() string {
	return fmt.Sprintf("%s/job/%s/%s/%s", s.hydra, s.project, s.jobset, s.job)
}

func (s *Hydra) jobFor(vm microvm.Name) (hydra.Job, error) {
	return hydra.ParseJob(s.project, s.jobset, strings.ReplaceAll(s.job, vmPlace, string(vm)))
}

// Latest asks Hydra for a VM's newest build.
func (s *Hydra) Latest(ctx context.Context, vm microvm.Name) (Found, error) {
	job, err := s.jobFor(vm)
	if err != nil {
		return Found{}, err
	}
	if !strings.Contains(s.job, vmPlace) {
		if other := s.only.take(vm); other != vm {
			return Found{}, fmt.Errorf("job %s can't be for both %s and %s (expected %s in its name)", job, other, vm, vmPlace)
		}
	}
	from, err := s.builtFlake(ctx)
	if err != nil {
		return Found{}, err
	}
	b, err := s.hydra.Latest(ctx, job, s.which)
	if err != nil {
		return Found{}, kindOf(err)
	}
	return Found{Runner: b.Out, Build: b.URL, Built: b.Stopped, Flake: from, Job: s.hydra.String() + "/job/" + b.Job.String(), ID: b.ID}, nil
}

// kindOf tells what an error of Hydra means for a VM.
func kindOf(err error) error {
	var missing *hydra.NotFoundError
	var unusable *hydra.BuildError
	switch {
	case errors.As(err, &missing):
		return fmt.Errorf("%w: %w", ErrNoBuild, err)
	case errors.As(err, &unusable) && !unusable.Build.Finished:
		return fmt.Errorf("%w: %w", ErrNotFinished, err)
	case errors.As(err, &unusable):
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return err
}

// Flake is what the jobset builds, asked for once; empty with AnyFlake.
func (s *Hydra) Flake(ctx context.Context) (string, error) { return s.builtFlake(ctx) }

// builtFlake is what the jobset builds, asked for once.
func (s *Hydra) builtFlake(ctx context.Context) (string, error) {
	if s.anyFlake {
		return "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flake != "" {
		return s.flake, nil
	}
	j, err := s.hydra.Jobset(ctx, s.project, s.jobset)
	if err != nil {
		return "", err
	}
	if j.Flake == "" {
		return "", &noFlakeError{jobset: s.project + "/" + s.jobset}
	}
	s.flake = j.Flake
	return s.flake, nil
}

type noFlakeError struct{ jobset string }

func (e *noFlakeError) Error() string {
	return fmt.Sprintf("jobset %s of Hydra builds no flake, so nothing says which VMs its builds are for", e.jobset)
}

// Hint is what to do next.
func (e *noFlakeError) Hint() string {
	return "where you know that they are for these VMs, use --any-flake"
}
