// Package hydra asks a Hydra for the newest successful build of a job and for
// what a jobset builds. It owns Hydra's JSON API, as hydra-api.yaml in Hydra's
// repository describes it, and must not know what a build is used for.
package hydra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"ferry/internal/fetch"
)

// Hydra is one server.
type Hydra struct {
	base   *url.URL
	client *fetch.Client
}

// New returns the Hydra whose pages are below base, such as
// `https://hydra.example.org`.
func New(base string, client *fetch.Client) (*Hydra, error) {
	u, err := fetch.CheckURL(base)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" {
		return nil, &fetch.URLError{URL: base, Why: "Hydra's own address has no part after `?`"}
	}
	if err := client.Permits(u); err != nil {
		return nil, err
	}
	return &Hydra{base: u, client: client}, nil
}

// String is the server's address.
func (h *Hydra) String() string { return strings.TrimSuffix(h.base.String(), "/") }

// Latest finds the newest successful build of a job. The error is a
// *NotFoundError where there is none, a *BuildError where the build that Hydra
// names is none to use, a *ContentError where the answer isn't what Hydra's API
// promises, or one of the network.
func (h *Hydra) Latest(ctx context.Context, job Job, which Which) (Build, error) {
	words := append([]string{"job", job.Project, job.Jobset, job.Name}, which.path()...)
	body, at, err := h.get(ctx, words)
	if err != nil {
		return Build{}, h.explain(err, "has no successful build of job "+job.String())
	}
	b, err := parseBuild(body)
	if err != nil {
		return Build{}, &ContentError{URL: at.Redacted(), Err: err}
	}
	b.URL = fmt.Sprintf("%s/build/%d", h, b.ID)
	if err := b.check(job, which); err != nil {
		return Build{}, err
	}
	return b, nil
}

// Jobset says what a jobset builds; errors are as of Latest.
func (h *Hydra) Jobset(ctx context.Context, project, jobset string) (Jobset, error) {
	body, at, err := h.get(ctx, []string{"jobset", project, jobset})
	if err != nil {
		return Jobset{}, h.explain(err, "knows no jobset "+project+"/"+jobset)
	}
	j, err := parseJobset(body)
	if err != nil {
		return Jobset{}, &ContentError{URL: at.Redacted(), Err: err}
	}
	if j.Project != project || j.Name != jobset {
		return Jobset{}, &RenamedError{Asked: project + "/" + jobset, Now: j.Project + "/" + j.Name}
	}
	return j, nil
}

// get asks for the JSON at the path of words.
func (h *Hydra) get(ctx context.Context, words []string) ([]byte, *url.URL, error) {
	u := *h.base
	plain, escaped := strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.EscapedPath(), "/")
	for _, w := range words {
		plain += "/" + w
		escaped += "/" + url.PathEscape(w)
	}
	u.Path, u.RawPath = plain, escaped
	answer, err := h.client.Get(ctx, &u, "application/json")
	if err != nil {
		return nil, nil, err
	}
	if err := checkType(answer); err != nil {
		return nil, nil, &ContentError{URL: answer.URL.Redacted(), Err: err}
	}
	return answer.Body, answer.URL, nil
}

func checkType(a *fetch.Answer) error {
	kind, _, err := mime.ParseMediaType(a.Type)
	switch {
	case len(strings.TrimSpace(string(a.Body))) == 0:
		return errors.New("it is empty")
	case err == nil && (kind == "application/json" || kind == "text/x-json"):
		return nil
	case kind == "text/html":
		return errors.New("it is a web page instead of JSON")
	}
	return fmt.Errorf("it is %.80q instead of JSON", a.Type)
}

// explain makes Hydra's own words of an error part of it.
func (h *Hydra) explain(err error, what string) error {
	var status *fetch.StatusError
	if !errors.As(err, &status) {
		return err
	}
	said := message(status)
	if status.Code == http.StatusNotFound {
		return &NotFoundError{Server: h.String(), What: what, Said: said}
	}
	if said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// message is the `error` of an answer with an error status, its first line.
func message(status *fetch.StatusError) string {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(status.Body, &body) != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(body.Error), "\n")
	if len(line) > 300 {
		line = line[:300] + "…"
	}
	return line
}
