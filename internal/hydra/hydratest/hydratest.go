// Package hydratest stands in for a Hydra in tests: it answers as hydra-api.yaml
// and Hydra's controllers say, status codes and redirects included, and beside
// them with whatever a server in trouble may answer. It builds nothing.
package hydratest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// State is what the Hydra knows. Tests in the lab write it as a file.
type State struct {
	Jobsets []Jobset `json:"jobsets"`
	Builds  []Build  `json:"builds"`
	// Faults replace the answer for a path: `500`, `html`, `empty`, `hang` (no
	// answer), `stall` (half an answer, also of a file), `endless`, or `to URL` for
	// a redirect.
	Faults map[string]string `json:"faults"`
}

// Jobset is one of the Hydra's.
type Jobset struct {
	Project string `json:"project"`
	Name    string `json:"name"`
	Flake   string `json:"flake"` // empty: one of Nix expressions
}

// Build is one of the Hydra's.
type Build struct {
	ID       int64  `json:"id"`
	Eval     int64  `json:"eval"`
	Project  string `json:"project"`
	Jobset   string `json:"jobset"`
	Job      string `json:"job"`
	System   string `json:"system"`
	Finished bool   `json:"finished"`
	Status   int64  `json:"status"`
	Out      string `json:"out"`
}

// Handler answers with what state returns at that moment; files (may be nil)
// serves everything that is no page of Hydra's, such as a binary cache.
func Handler(state func() (State, error), files http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := state()
		if err != nil {
			http.Error(w, "the stand-in's state: "+err.Error(), http.StatusInternalServerError)
			return
		}
		if fault, ok := s.Faults[r.URL.Path]; ok && fail(w, r, fault, files) {
			return
		}
		words := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		switch {
		case words[0] == "job" && len(words) >= 5:
			s.job(w, r, words[1:])
		case words[0] == "build" && len(words) == 2:
			s.build(w, r, words[1])
		case words[0] == "jobset" && len(words) == 3:
			s.jobset(w, r, words[1], words[2])
		case files != nil:
			files.ServeHTTP(w, r)
		default:
			say(w, r, http.StatusNotFound, map[string]any{"error": "Page not found."})
		}
	})
}

// say answers in JSON who asks for it, and everybody else with a page.
func say(w http.ResponseWriter, r *http.Request, status int, v any) {
	if r.Header.Get("Accept") != "application/json" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprintln(w, "<!DOCTYPE html><title>Hydra</title>")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (s State) job(w http.ResponseWriter, r *http.Request, words []string) {
	project, jobset, job, which := words[0], words[1], words[2], words[3:]
	if !slices.ContainsFunc(s.Jobsets, func(j Jobset) bool { return j.Project == project && j.Name == jobset }) {
		say(w, r, http.StatusNotFound, map[string]any{"error": fmt.Sprintf("Jobset ‘%s’ doesn't exist.", jobset)})
		return
	}
	var found *Build
	for i, b := range s.Builds {
		fits := b.Project == project && b.Jobset == jobset && b.Job == job && b.Finished && b.Status == 0
		switch {
		case which[0] == "latest-for" && len(which) == 2:
			fits = fits && b.System == which[1]
		case which[0] == "latest-finished" && len(which) == 1:
			fits = fits && !slices.ContainsFunc(s.Builds, func(o Build) bool { return o.Eval == b.Eval && !o.Finished })
		case which[0] != "latest" || len(which) != 1:
			fits = false
		}
		if fits && (found == nil || b.ID > found.ID) {
			found = &s.Builds[i]
		}
	}
	if found == nil {
		say(w, r, http.StatusNotFound, map[string]any{"error": "There is no successful build to redirect to."})
		return
	}
	http.Redirect(w, r, fmt.Sprintf("http://%s/build/%d", r.Host, found.ID), http.StatusFound)
}

func (s State) build(w http.ResponseWriter, r *http.Request, id string) {
	i := slices.IndexFunc(s.Builds, func(b Build) bool { return strconv.FormatInt(b.ID, 10) == id })
	if i < 0 {
		say(w, r, http.StatusNotFound, map[string]any{"error": fmt.Sprintf("Build with ID %s doesn't exist.", id)})
		return
	}
	b := s.Builds[i]
	answer := map[string]any{
		"id": b.ID, "finished": 0, "buildstatus": nil, "stoptime": nil, "starttime": nil, "timestamp": 1588365711,
		"project": b.Project, "jobset": b.Jobset, "job": b.Job, "system": b.System, "jobsetevals": []int64{b.Eval},
		"nixname": "microvm", "priority": 100, "releasename": nil, "buildproducts": map[string]any{}, "buildmetrics": map[string]any{},
		"buildoutputs": map[string]any{"out": map[string]any{"path": b.Out}},
	}
	if b.Finished {
		answer["finished"], answer["buildstatus"], answer["starttime"], answer["stoptime"] = 1, b.Status, 1588365711, 1588365712
	}
	say(w, r, http.StatusOK, answer)
}

func (s State) jobset(w http.ResponseWriter, r *http.Request, project, name string) {
	for _, j := range s.Jobsets {
		if j.Project != project || j.Name != name {
			continue
		}
		kind := 0
		if j.Flake != "" {
			kind = 1
		}
		say(w, r, http.StatusOK, map[string]any{
			"project": j.Project, "name": j.Name, "flake": j.Flake, "type": kind, "enabled": 1, "errormsg": "", "inputs": map[string]any{},
		})
		return
	}
	say(w, r, http.StatusNotFound, map[string]any{"error": fmt.Sprintf("Jobset ‘%s’ doesn't exist.", name)})
}

// fail answers as the fault says; false for an unknown one.
func fail(w http.ResponseWriter, r *http.Request, fault string, files http.Handler) bool {
	kind, to, _ := strings.Cut(fault, " ")
	switch kind {
	case "500":
		say(w, r, http.StatusInternalServerError, map[string]any{"error": "DBI connect failed"})
	case "html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintln(w, "<!DOCTYPE html><title>Sign in</title>")
	case "empty":
		w.Header().Set("Content-Type", "application/json")
	case "hang":
		<-r.Context().Done()
	case "stall":
		stall(w, r, files)
	case "endless":
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
				break
			}
		}
	case "to":
		http.Redirect(w, r, to, http.StatusFound)
	default:
		return false
	}
	return true
}

// stall sends the beginning of a file, or of an object, and then nothing.
func stall(w http.ResponseWriter, r *http.Request, files http.Handler) {
	half := &halved{ResponseWriter: w, left: 1}
	if files != nil && !strings.HasPrefix(r.Header.Get("Accept"), "application/json") {
		files.ServeHTTP(half, r)
	} else {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(half, "{}")
	}
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// halved passes on the first bytes of an answer only.
type halved struct {
	http.ResponseWriter
	left int
}

func (h *halved) Write(b []byte) (int, error) {
	n := min(len(b), h.left)
	h.left -= n
	if _, err := h.ResponseWriter.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}
