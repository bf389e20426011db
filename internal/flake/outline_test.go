package flake

import (
	"slices"
	"testing"

	"ferry/internal/microvm"
	"ferry/internal/nix/nixtest"
)

// Pressing a key must not fetch, build, or write a lock file.
func TestOutlineIsEvaluatedWithoutSideEffects(t *testing.T) {
	args := append(nixArgs("eval", "--json", "--show-trace"), "--offline", "--no-write-lock-file",
		"--option", "allow-import-from-derivation", "false", "--option", "accept-flake-config", "false",
		"--apply", nixtest.Any, "--", "/infra#.")
	n := nixtest.New(t, nixtest.Call{Args: args, Stdout: `{}`})
	if out, err := (&Evaluator{Nix: n}).Outline(t.Context(), "/infra"); err != nil || string(out) != "{}" {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := (&Evaluator{Nix: n}).Outline(t.Context(), "--impure"); err == nil {
		t.Error("an option was taken for a flake")
	}
	for _, wanted := range []string{"https_proxy=http://127.0.0.1:9", "GIT_ALLOW_PROTOCOL=file", "no_proxy="} {
		if !slices.Contains(noNetwork(), wanted) {
			t.Errorf("Nix runs without %s", wanted)
		}
	}
}

func FuzzDecodeOutline(f *testing.F) {
	f.Add([]byte(`{"hosts":{"h":"root@h"},"vms":{"web":{"host":"h","target":"root@web","tags":["a"]}},"configurations":["x"]}`))
	f.Add([]byte(`{"vms":{"web":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, _ := DecodeOutline(data)
		for name, vm := range o.VMs {
			if _, err := microvm.ParseName(string(name)); err != nil {
				t.Error(err)
			}
			if _, known := o.Hosts[vm.Host]; vm.Host != "" && !known {
				t.Errorf("%s is on %q", name, vm.Host)
			}
		}
		for _, a := range o.Hosts {
			if _, err := microvm.ParseAddress(a.String()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDecodeOutline(t *testing.T) {
	o, err := DecodeOutline([]byte(`{
		"hosts": {"host1": "root@host1", "h 2": "root@h", "bad": "-oProxyCommand=x", "none": null},
		"vms": {
			"web": {"host": "host1", "target": "root@web", "tags": ["a", "b"]},
			"db": {"host": "gone", "target": "local", "tags": null},
			"$(x)": {}
		},
		"configurations": ["cron", "-x"]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	web := o.VMs["web"]
	if len(o.Hosts) != 1 || o.Hosts["host1"].String() != "root@host1" || len(o.VMs) != 3 ||
		web.Host != "host1" || web.Target.String() != "root@web" || !slices.Equal(web.Tags, []string{"a", "b"}) {
		t.Errorf("%+v", o)
	}
	if db := o.VMs["db"]; db.Host != "" || db.Target != nil {
		t.Errorf("%+v", db)
	}
	if _, known := o.VMs[microvm.Name("cron")]; !known {
		t.Error("a configuration is missing")
	}
	for _, wrong := range []string{``, `[]`, `{"vms": []}`} {
		if _, err := DecodeOutline([]byte(wrong)); err == nil {
			t.Errorf("%q was read", wrong)
		}
	}
}
