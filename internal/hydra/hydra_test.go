package hydra

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ferry/internal/fetch"
)

const (
	out     = "/nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-microvm-web"
	web     = `{"id":7,"finished":1,"buildstatus":0,"stoptime":1588365711,"timestamp":1588365711,"project":"infra","jobset":"main","job":"web","system":"x86_64-linux","nixname":"microvm-web","drvpath":"/nix/store/ab9zv2y5gm8hr6g318p0s6kaclwj4slr-microvm-web.drv","jobsetevals":[1],"buildproducts":{},"buildmetrics":{},"releasename":null,"buildoutputs":{"out":{"path":"` + out + `"}}}`
	flakeJS = `{"name":"main","project":"infra","type":1,"flake":"git+https://git.example.org/infra?ref=flake-update","nixexprinput":"","errormsg":"","enabled":1,"inputs":{}}`
)

// standIn answers as Hydra does: /job/… leads to /build/ID by a redirect, errors
// are objects with `error`, and who doesn't ask for JSON gets a web page.
func standIn(t *testing.T, pages map[string]string) *Hydra {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.Path]
		if r.Header.Get("Accept") != "application/json" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, "<!DOCTYPE html>")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		switch kind, rest, _ := strings.Cut(page, " "); {
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"There is no successful build to redirect to."}`)
		case kind == "to":
			http.Redirect(w, r, rest, http.StatusFound)
		case kind == "html":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, rest)
		case kind == "500":
			w.WriteHeader(http.StatusNotImplemented) // one that is not tried again
			fmt.Fprint(w, rest)
		default:
			fmt.Fprint(w, page)
		}
	}))
	t.Cleanup(s.Close)
	h, err := New(s.URL+"/", &fetch.Client{AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustJob(t *testing.T, name string) Job {
	t.Helper()
	j, err := ParseJob("infra", "main", name)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestLatest(t *testing.T) {
	const start = "/job/infra/main/web"
	for _, c := range []struct {
		name  string
		which Which
		path  string
	}{
		{"latest-finished", Which{}, start + "/latest-finished"},
		{"latest", Which{Any: true}, start + "/latest"},
		{"latest-for", Which{System: "x86_64-linux"}, start + "/latest-for/x86_64-linux"},
	} {
		h := standIn(t, map[string]string{c.path: "to /build/7", "/build/7": web})
		b, err := h.Latest(t.Context(), mustJob(t, "web"), c.which)
		if err != nil || b.Out != out || b.ID != 7 || b.URL != h.String()+"/build/7" || b.Stopped.Unix() != 1588365711 {
			t.Errorf("%s: %+v, %v", c.name, b, err)
		}
	}
}

// Below a path of a reverse proxy, and with a name that a URL would split.
func TestLatestBelowAPath(t *testing.T) {
	h := standIn(t, map[string]string{"/ci/job/infra/main/web.a'b+c/latest-finished": strings.Replace(web, `"job":"web"`, `"job":"web.a'b+c"`, 1)})
	h.base.Path = "/ci/"
	if b, err := h.Latest(t.Context(), mustJob(t, "web.a'b+c"), Which{}); err != nil || b.Out != out {
		t.Fatalf("%+v, %v", b, err)
	}
}

func TestUnusableAnswers(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(web, old, new, 1) }
	for _, c := range []struct {
		name, page string
		which      Which
		err        string
	}{
		{"another job", with(`"job":"web"`, `"job":"db"`), Which{}, "it is of job infra/main/db, but infra/main/web was asked for"},
		{"another project", with(`"infra"`, `"other"`), Which{}, "it is of job other/main/web"},
		{"a renamed jobset", with(`"jobset":"main"`, `"jobset":"trunk"`), Which{}, `answers for jobset "infra/trunk" instead of infra/main`},
		{"an unfinished build", with(`"finished":1,"buildstatus":0,"stoptime":1588365711`, `"finished":0,"buildstatus":null,"stoptime":null`), Which{}, "it isn't finished"},
		{"an unfinished build, as the API description has it", with(`"finished":1`, `"finished":false`), Which{}, "it isn't finished"},
		{"a failed build", with(`"buildstatus":0`, `"buildstatus":1`), Which{}, "build 7 ("},
		{"a cancelled build", with(`"buildstatus":0`, `"buildstatus":4`), Which{}, "somebody cancelled it"},
		{"a status of tomorrow", with(`"buildstatus":0`, `"buildstatus":77`), Which{}, "buildstatus 77"},
		{"for another system", web, Which{System: "aarch64-linux"}, `it is for "x86_64-linux", but aarch64-linux`},
		{"no output `out`", with(`{"out":`, `{"dev":`), Which{}, "no output named `out`"},
		{"a content-addressed output", with(`{"path":"`+out+`"}`, `{"path":null}`), Which{}, "`buildoutputs.out` has no `path`"},
		{"no store path", with(out, "/etc/passwd"), Which{}, `"/etc/passwd" is not a store path`},
		{"a path below one", with(out, out+"/bin"), Which{}, "is not a store path"},
		{"a derivation", with(out, out+".drv"), Which{}, "is a derivation"},
		{"no id", with(`"id":7,`, ""), Which{}, "it has no `id`"},
		{"no finished", with(`"finished":1,`, ""), Which{}, "it has no `finished`"},
		{"finished twice", with(`"finished":1`, `"finished":2`), Which{}, "`finished` is 2 instead of 0 or 1"},
		{"a text as finished", with(`"finished":1`, `"finished":"yes"`), Which{}, "`finished` is \"yes\" instead of an integer"},
		{"no status", with(`"buildstatus":0,`, ""), Which{}, "it has no `buildstatus`"},
		{"a null status", with(`"buildstatus":0`, `"buildstatus":null`), Which{}, "it has no `buildstatus`"},
		{"a text as status", with(`"buildstatus":0`, `"buildstatus":"0"`), Which{}, "`buildstatus` is \"0\" instead of an integer"},
		{"a fraction as status", with(`"buildstatus":0`, `"buildstatus":0.5`), Which{}, "`buildstatus` is 0.5 instead of an integer"},
		{"no outputs", with(`"buildoutputs"`, `"outputs"`), Which{}, "it has no `buildoutputs`"},
		{"a list of outputs", with(`"buildoutputs":{"out":{"path":"`+out+`"}}`, `"buildoutputs":["`+out+`"]`), Which{}, "`buildoutputs` is"},
		{"a number as job", with(`"job":"web"`, `"job":1`), Which{}, "`job` is 1 instead of a string"},
		{"a list", "[]", Which{}, "it is not a JSON object"},
		{"null", "null", Which{}, "it is null"},
		{"two objects", web + web, Which{}, "it is not a JSON object"},
		{"half an object", web[:100], Which{}, "it is not a JSON object"},
		{"nothing", " \n", Which{}, "it is empty"},
		{"a web page", "html <!DOCTYPE html><title>Sign in</title>", Which{}, "it is a web page instead of JSON"},
		{"an error", `500 {"error":"DBI connect failed\nat line 1"}`, Which{}, "DBI connect failed"},
		{"another origin", "to http://127.0.0.2:1/build/7", Which{}, "another origin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := standIn(t, map[string]string{"/job/infra/main/web/" + strings.Join(c.which.path(), "/"): c.page})
			_, err := h.Latest(t.Context(), mustJob(t, "web"), c.which)
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "at line 1") {
				t.Fatalf("%v, want %q", err, c.err)
			}
		})
	}
}

// A job without a successful build and an unknown one look the same but for
// Hydra's words, which are shown.
func TestNoBuild(t *testing.T) {
	_, err := standIn(t, nil).Latest(t.Context(), mustJob(t, "web"), Which{})
	var missing *NotFoundError
	if !errors.As(err, &missing) || !strings.HasSuffix(err.Error(), "has no successful build of job infra/main/web: There is no successful build to redirect to.") || missing.Hint() == "" {
		t.Fatalf("%v", err)
	}
}

func TestJobset(t *testing.T) {
	for _, c := range []struct{ page, flake, err string }{
		{flakeJS, "git+https://git.example.org/infra?ref=flake-update", ""},
		{strings.Replace(flakeJS, `"git+https://git.example.org/infra?ref=flake-update"`, `""`, 1), "", ""},
		{strings.Replace(flakeJS, `"git+https://git.example.org/infra?ref=flake-update"`, `null`, 1), "", ""},
		{strings.Replace(flakeJS, `"flake"`, `"other"`, 1), "", ""},
		{strings.Replace(flakeJS, `"git+https://git.example.org/infra?ref=flake-update"`, `1`, 1), "", "`flake` is 1 instead of a string"},
		{strings.Replace(flakeJS, `"name":"main"`, `"name":"trunk"`, 1), "", "instead of infra/main"},
		{`{}`, "", "it has no `project`"},
	} {
		j, err := standIn(t, map[string]string{"/jobset/infra/main": c.page}).Jobset(t.Context(), "infra", "main")
		if c.err == "" && (err != nil || j.Flake != c.flake) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%.80s: %+v, %v", c.page, j, err)
		}
	}
	if _, err := standIn(t, nil).Jobset(t.Context(), "infra", "main"); err == nil || !strings.Contains(err.Error(), "knows no jobset infra/main") {
		t.Errorf("%v", err)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ project, jobset, job, err string }{
		{"infra", "main", "web", ""},
		{"in-fra_1", "flake-update.25", "nixosConfigurations.web-1.x86_64-linux", ""},
		{"infra", "main", "1web", ""},
		{"", "main", "web", "project is empty"},
		{"infra", "..", "web", "not a valid name of a jobset"},
		{"infra", "ma/in", "web", "not a valid name of a jobset"},
		{"infra", "main", "..", "not a valid name of a job"},
		{"infra", "main", "web/../db", "not a valid name of a job"},
		{"infra", "main", "web?x", "not a valid name of a job"},
		{"in%2Ffra", "main", "web", "not a valid name of a project"},
		{"infra", "main", strings.Repeat("x", 300), "not a valid name of a job"},
	} {
		_, err := ParseJob(c.project, c.jobset, c.job)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s/%s/%.40s: %v", c.project, c.jobset, c.job, err)
		}
	}
}

func TestParseWhich(t *testing.T) {
	for in, want := range map[string]Which{
		"": {}, "latest-finished": {}, "latest": {Any: true}, "latest-for/x86_64-linux": {System: "x86_64-linux"},
	} {
		if got, err := ParseWhich(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"newest", "latest-for/", "latest-for", "latest-for/x86 64", "latest/"} {
		if got, err := ParseWhich(in); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

// Whatever a server sends, what comes out can be used, or is an error.
func FuzzBuild(f *testing.F) {
	for _, seed := range []string{web, flakeJS, "{}", "null", "[]", `{"finished":true}`, strings.Replace(web, `"out"`, `"dev"`, 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := parseBuild(body)
		if err == nil && (b.ID < 1 || b.Out != "" && (!b.Finished || b.Status != 0 || !strings.HasPrefix(string(b.Out), "/nix/store/"))) {
			t.Errorf("%q: %+v", body, b)
		}
		if err == nil && b.check(b.Job, Which{}) == nil && b.Out == "" {
			t.Errorf("%q: %+v passes", body, b)
		}
		_, _ = parseJobset(body)
	})
}
