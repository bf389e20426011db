package flake

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry/internal/nix/nixtest"
)

// givenWith writes an evaluation file of web, changed by what change does.
func givenWith(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	drv := "/nix/store/00000000000000000000000000000000-runner.drv"
	doc := map[string]any{
		"version": 1, "flake": "git+file:///root/infra", "revision": "abc-dirty", "lastModified": 1767225600,
		"vms":   map[string]any{"web": map[string]any{"record": map[string]any{"name": "web", "runner": map[string]any{"drv": drv}}, "brokenSystem": false}},
		"ferry": map[string]any{"hosts": map[string]any{"h": map[string]any{"address": "root@h"}}, "vms": map[string]any{"web": map[string]any{"host": "h"}}},
	}
	if change != nil {
		change(doc)
	}
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return writtenFile(t, data)
}

func writtenFile(t *testing.T, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "evaluation.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What somebody has evaluated before is taken without asking Nix for anything.
func TestGivenEvaluationRunsNoNix(t *testing.T) {
	e := &Evaluator{Nix: nixtest.New(t)}
	_, err := e.Evaluate(t.Context(), Source{Evaluation: givenWith(t, nil)}, "web")
	var given *GivenError // its derivation is in no store
	if !errors.As(err, &given) || !strings.Contains(err.Error(), "is not in this machine's store any more") || !strings.Contains(given.Hint(), "evaluate again") {
		t.Fatal(err)
	}
}

func TestGivenEvaluationIsRead(t *testing.T) {
	var f givenFile
	data, err := os.ReadFile(givenWith(t, nil))
	if err == nil {
		err = decodeGiven(data, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	var ev Evaluation
	err = ev.takeGiven(&f, "x.json", "web")
	var gone *GivenError
	if !errors.As(err, &gone) {
		t.Fatal(err)
	}
	if ev.Record.Name != "web" || ev.Fleet.VMs["web"].Host != "h" {
		t.Errorf("%+v", ev)
	}
	if got := time.Unix(f.LastModified, 0).UTC().Year(); got != 2026 {
		t.Error(got)
	}
}

func TestBadGivenEvaluations(t *testing.T) {
	record := func(doc map[string]any) map[string]any {
		return doc["vms"].(map[string]any)["web"].(map[string]any)["record"].(map[string]any)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, file, want string }{
		{"missing", "/nowhere/evaluation.json", "cannot be read: no such file"},
		{"a directory", t.TempDir(), "not a regular file"},
		{"a pipe", fifo, "not a regular file"},
		{"endless", writtenFile(t, []byte(strings.Repeat(" ", maxGivenFile+1))), "more than 4 MiB"},
		{"not JSON", writtenFile(t, []byte("{ web = 1; }")), "is malformed"},
		{"two values", writtenFile(t, []byte(`{"version":1}{"version":1}`)), "is malformed"},
		{"a list", writtenFile(t, []byte("[]")), "is malformed"},
		{"another file", writtenFile(t, []byte(`{"name":"x"}`)), "no `version`"},
		{"of a later ferry", writtenFile(t, []byte(`{"version":2,"all":"different"}`)), ".json has the version 2, and this ferry reads version 1"},
		{"an unknown key", givenWith(t, func(d map[string]any) { d["flakes"] = 1 }), `unknown field "flakes"`},
		{"no VMs", givenWith(t, func(d map[string]any) { delete(d, "vms") }), "is malformed"},
		{"another VM", givenWith(t, func(d map[string]any) { d["vms"] = map[string]any{"db": map[string]any{}} }), `is not of web, but of "db"`},
		{"a record of another VM", givenWith(t, func(d map[string]any) { record(d)["name"] = "db" }), `of web says that it is of "db"`},
		{"not a MicroVM", givenWith(t, func(d map[string]any) {
			d["vms"] = map[string]any{"web": map[string]any{"obstacle": "it does not define config.microvm.declaredRunner"}}
		}), "web is not a MicroVM"},
		{"a path elsewhere", givenWith(t, func(d map[string]any) { record(d)["runner"] = map[string]any{"drv": "/etc/passwd"} }), "is malformed"},
		{"an output for a derivation", givenWith(t, func(d map[string]any) {
			record(d)["runner"] = map[string]any{"drv": "/nix/store/00000000000000000000000000000000-runner"}
		}), "is not a derivation"},
		{"a bad fleet", givenWith(t, func(d map[string]any) { d["ferry"] = map[string]any{"vm": 1} }), "is not a known key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &Evaluator{Nix: nixtest.New(t)}
			ev, err := e.Evaluate(t.Context(), Source{Evaluation: c.file}, "web")
			if err == nil || ev != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v", ev, err)
			}
		})
	}
}

// Who has no flake is not sent to correct one.
func TestSchemaErrorsNameTheirSource(t *testing.T) {
	evaluation, file := givenWith(t, func(d map[string]any) { d["ferry"] = map[string]any{"vm": 1} }), nixFile(t)
	for _, c := range []struct {
		src        Source
		calls      []nixtest.Call
		want, hint string
	}{
		{Source{Evaluation: evaluation}, nil, "ferry.vm in the evaluation " + evaluation + " is not", "ferry.deploy.settings"},
		{
			Source{File: file}, []nixtest.Call{versionCall("2.26.3"), fileCall(file, strings.Replace(webOutput, "tags", "tagz", 1))},
			"ferry.vms.web.tagz in the value of " + file + " is not", "in the file",
		},
	} {
		_, err := (&Evaluator{Nix: nixtest.New(t, c.calls...)}).Evaluate(t.Context(), c.src, "web")
		var schema *SchemaError
		if !errors.As(err, &schema) || !strings.HasPrefix(err.Error(), c.want) || !strings.Contains(schema.Hint(), c.hint) {
			t.Errorf("%+v: %v", c.src, err)
		}
	}
}

// Whatever the file has, it is an evaluation of the VM or an error, and Nix isn't asked.
func FuzzGiven(f *testing.F) {
	f.Add([]byte(`{"version":1,"vms":{"web":{"record":{"name":"web","runner":{"drv":"` + runnerDrv + `"}}}},"ferry":{"vms":{"web":{"health":{"timeout":3}}}}}`))
	f.Add([]byte(`{"version":1,"vms":{"web":{"obstacle":"x"}},"ferry":null,"revision":"abc","lastModified":-1}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var file givenFile
		if decodeGiven(data, &file) != nil {
			return
		}
		var ev Evaluation
		if err := ev.takeGiven(&file, "x.json", "web"); err == nil && (ev.Record.Name != "web" || !ev.Record.Runner.Drv.IsDerivation()) {
			t.Errorf("%+v", ev)
		}
	})
}
