package timers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	got, err := Decode([]byte(`{
  "update": { "hydra": "https://hydra.example.org/jobset/infra/main", "cache": "https://cache.example.org",
    "vms": ["web", "db"], "restart": "never", "anyFlake": null, "allowRedirect": ["https://cdn.example.org"],
    "allowHttp": false, "allowOlder": true },
  "flakeUpdate": { "repository": "/srv/infra", "push": "origin" }
}`))
	want := Settings{
		Update: &Update{
			Hydra: "https://hydra.example.org/jobset/infra/main", Cache: "https://cache.example.org",
			VMs: []string{"web", "db"}, Restart: "never", AllowRedirect: []string{"https://cdn.example.org"},
			AllowHTTP: new(bool), AllowOlder: true,
		},
		FlakeUpdate: &FlakeUpdate{Repository: "/srv/infra", Push: "origin"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	b, err := got.encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Decode(b); err != nil || !cmp.Equal(again, want) {
		t.Errorf("%v: %s", err, b)
	}
}

func TestDecodeWrong(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{``, "the settings are not a JSON object"},
		{`[]`, "are not a JSON object"},
		{`{}x`, "followed by something else"},
		{`{"updat": {}}`, "`updat` is unknown (did you mean `update`?)"},
		{`{"Update": {}}`, "`Update` is unknown (did you mean `update`?)"},
		{`{"update": {"hydr": "x"}}`, "`update.hydr` is unknown (did you mean `hydra`?)"},
		{`{"update": {"fromFlake": true}, "update": {"fromFlake": true}}`, "have `update` twice"},
		{`{"update": {"fromFlake": true, "fromFlake": false}}`, "`update` has `fromFlake` twice"},
		{`{"update": []}`, "`update` is not a JSON object"},
		{`{"update": {"fromFlake": "yes"}}`, "`update.fromFlake` is \"yes\" instead of true or false"},
		{`{"update": {"fromFlake": true, "allowHttp": 1}}`, "`update.allowHttp` is 1 instead of true or false"},
		{`{"update": {"fromFlake": true, "vms": "web"}}`, "instead of a list of strings"},
		{`{"update": {"fromFlake": true, "vms": ["../x"]}}`, "`update.vms[0]` is wrong"},
		{`{"update": {"fromFlake": true, "restart": "sometimes"}}`, "`update.restart` is \"sometimes\""},
		{`{"update": {}}`, "needs one source"},
		{`{"update": {"fromFlake": true, "hydra": "https://x"}}`, "needs one source, and one only"},
		{`{"update": {"fromFlake": true, "target": "root@web"}}`, "instead of a list of strings"},
		{`{"update": {"fromFlake": true, "target": ["root@web"]}}`, "`update.target[0]` is wrong: expected VM="},
		{`{"update": {"fromFlake": true, "target": ["web=root@web", "web=b"]}}`, "`update.target[1]` is wrong: web has two"},
		{`{"update": {"fromFlake": true, "target": ["web=local"]}}`, "never `local`"},
		{`{"update": {"fromFlake": true, "target": ["web=-oProxyCommand=x"]}}`, "`update.target[0]` is wrong"},
		{`{"update": {"fromFlake": true, "vms": ["db"], "target": ["web=a"]}}`, "web is not one of `vms`"},
		{`{"update": {"fromFlake": true, "targetSudo": ["web"]}}`, "`update.targetSudo[0]` is wrong"},
		{`{"update": {"from": "built.json"}}`, "neither a URL nor an absolute path"},
		{`{"update": {"fromFlake": true, "netrc": "netrc"}}`, "not an absolute path"},
		{`{"update": {"hydra": "a\nb"}}`, "has control characters"},
		{`{"flakeUpdate": {}}`, "`flakeUpdate.repository` is \"\", which is not an absolute path"},
		{`{"flakeUpdate": {"repository": "infra"}}`, "not an absolute path"},
		{`{"flakeUpdate": {"repository": "/srv/infra", "remote": "origin"}}`, "`flakeUpdate.remote` is unknown"},
	} {
		_, err := Decode([]byte(c.text))
		var se *SettingsError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", c.text, err, c.want)
		}
	}
}

// Timers that were set before http had to be allowed go on, and say so; where the
// settings speak of it, they count.
func TestHTTPOfEarlierTimers(t *testing.T) {
	for text, want := range map[string]struct{ takes, unsaid bool }{
		`{"update": {"hydra": "http://hydra.example.org/jobset/a/b"}}`:                     {true, true},
		`{"update": {"from": "HTTP://127.0.0.1/built.json", "allowHttp": null}}`:           {true, true},
		`{"update": {"hydra": "http://hydra.example.org/jobset/a/b", "allowHttp": true}}`:  {true, false},
		`{"update": {"hydra": "http://hydra.example.org/jobset/a/b", "allowHttp": false}}`: {false, false},
		`{"update": {"hydra": "https://hydra.example.org/jobset/a/b"}}`:                    {false, false},
		`{"update": {"from": "/srv/built.json"}}`:                                          {false, false},
		`{"update": {"fromFlake": true}}`:                                                  {false, false},
	} {
		s, err := Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if takes, unsaid := s.Update.TakesHTTP(), s.Update.UnsaidHTTP(); takes != want.takes || unsaid != want.unsaid {
			t.Errorf("%s: takes it %v, unsaid %v", text, takes, unsaid)
		}
	}
}

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "timers.json")
	if s, err := Read(file); err != nil || s != (Settings{}) {
		t.Errorf("without a file: %+v, %v", s, err)
	}
	if err := os.WriteFile(file, []byte(`{"flakeUpdate": {"repository": "/srv/infra"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := Read(file); err != nil || s.FlakeUpdate == nil {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file); err == nil || !strings.Contains(err.Error(), "can be written by others") {
		t.Error(err)
	}
}

// Nobody needs to look at permissions where it isn't a file at all.
func TestReadSaysWhatIsInTheWay(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:  "the settings can't be read: " + dir + " is a directory",
		fifo: "the settings can't be read: " + fifo + " is not a regular file",
	} {
		if _, err := Read(path); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Whatever is decoded can be written and decoded again, to the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"update": {"hydra": "https://h/jobset/a/b", "vms": ["web"], "restart": "auto"}}`))
	f.Add([]byte(`{"flakeUpdate": {"repository": "/srv/infra", "inputs": ["nixpkgs"]}, "update": null}`))
	f.Add([]byte(`{"update": {"fromFlake": true, "fromFlake": true}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(data)
		if err != nil {
			var se *SettingsError
			if !errors.As(err, &se) {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		b, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(b)
		if len(b) > maxFile {
			return // written with more space than it was read from
		}
		if err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if b2, _ := again.encode(); string(b2) != string(b) {
			t.Errorf("%s became %s", b, b2)
		}
	})
}
