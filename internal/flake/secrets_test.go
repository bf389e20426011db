package flake

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry/internal/nix"
	"ferry/internal/nix/nixtest"
)

// What may be a secret in the checks of the `ferry` output is in no file of the
// cache; what was evaluated has it all the same.
func TestSecretsAreNotCached(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "eval"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "eval", "old.json"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := `{"vms":{},"ferry":{"vms":{"web":{"tags":["a"],"health":{"timeout":5,"tcp":["h:1"],"command":"curl -u me:hunter2 localhost","http":["http://h/open","http://me:hunter2@h/x","http://h/y?key=hunter2"]}},` +
		`"db":{"health":{"command":"systemctl is-active db"}}}}}`
	full := func() *nix.Nix {
		return nixtest.New(t, versionCall("2.26.3"), metadataCall("sha256-A"), settingsCall(),
			evalCall(out), versionCall("2.26.3"), metadataCall("sha256-A"), settingsCall())
	}
	for range 2 { // the second time the cache is no help
		fleet, _, err := (&Evaluator{Nix: full(), CacheDir: dir}).Fleet(t.Context(), Source{Ref: "."})
		if err != nil {
			t.Fatal(err)
		}
		h := fleet.VMs["web"].Health
		if h == nil || len(h.HTTP) != 3 || len(h.TCP) != 1 || !strings.Contains(h.Command, "hunter2") || fleet.VMs["db"].Health.Command == "" {
			t.Errorf("%+v", h)
		}
		err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), "http://h/open") || !strings.Contains(string(b), "is-active db") {
				t.Errorf("%s: %s", path, b)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// The record comes from the cache where only the checks have to be asked for.
func TestRecordIsCachedWithoutSecrets(t *testing.T) {
	open, withheld, err := withoutSecrets([]byte(`{"vms":{"web":{"record":1}},"ferry":{"hosts":{"h":1.50},"vms":{"web":{"health":{"http":["http://h/?a"]}},"db":{"host":"h"}}}}`))
	if err != nil || strings.Join(withheld, " ") != "web" {
		t.Fatal(withheld, err)
	}
	if string(open) != `{"ferry":{"hosts":{"h":1.50},"vms":{"db":{"host":"h"},"web":{"health":{}}}},"vms":{"web":{"record":1}}}` {
		t.Errorf("%s", open)
	}
	for _, same := range []string{`{"ferry":null}`, `{}`, `{"ferry":{"vms":{"web":{}}}}`} {
		if open, withheld, err := withoutSecrets([]byte(same)); string(open) != same || withheld != nil || err != nil {
			t.Errorf("%s became %s, %v, %v", same, open, withheld, err)
		}
	}
	for _, bad := range []string{``, `[]`, `{"ferry":[]}`, `{"ferry":{"vms":{"web":{"health":{"http":1}}}}}`, `{"ferry":{"vms":{"web":{"health":{"command":1}}}}}`} {
		if _, _, err := withoutSecrets([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// What the cache lacks is taken from an evaluation of the `ferry` output alone, and
// nothing else of that.
func TestChecksComeFromTheFlakeAgain(t *testing.T) {
	ev := Evaluation{URL: "git+https://flake", Warnings: []string{"a"}, Cached: true}
	err := ev.takeFleet([]byte(`{"vms":{},"ferry":{"vms":{"web":{"health":{"command":"curl -u me:hunter2 h"}}}}}`), ".")
	if err != nil || ev.Fleet.VMs["web"].Health.Command != "curl -u me:hunter2 h" || !ev.Cached || len(ev.Warnings) != 1 {
		t.Errorf("%+v, %v", ev, err)
	}
	for _, bad := range []string{``, `{"ferry":{"vms":[]}}`} {
		if err := ev.takeFleet([]byte(bad), "."); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
