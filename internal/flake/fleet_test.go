package flake

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/health"
	"ferry/internal/microvm"
)

const wholeFleet = `{
  "hosts": {
    "server1": { "address": "root@server1.example.com" },
    "rack.b_2": { "address": "ssh://deploy@10.0.0.2:2222", "sudo": true, "buildOn": "local" }
  },
  "vms": {
    "web": {
      "host": "server1", "target": "root@web.example.com", "targetSudo": true, "tags": ["prod", "web"], "restart": "if-needed",
      "updateFlake": "git+https://git.example.org/infra?ref=flake-update", "buildOn": "ssh-ng://root@builder:22",
      "health": { "tcp": ["10.0.0.5:443", "[fd00::5]:80"], "http": ["http://10.0.0.5/healthz"], "command": "systemctl is-active nginx", "timeout": 60 }
    },
    "db": { "host": "rack.b_2", "target": null, "health": {} },
    "bare": {}
  }
}`

func TestDecodeFleet(t *testing.T) {
	got, warnings, err := DecodeFleet([]byte(wholeFleet))
	if err != nil {
		t.Fatal(err)
	}
	want := Fleet{
		Hosts: map[string]Host{
			"server1":  {Address: microvm.Address{User: "root", Host: "server1.example.com"}},
			"rack.b_2": {Address: microvm.Address{User: "deploy", Host: "10.0.0.2", Port: 2222}, Sudo: true, BuildOn: &microvm.BuildPlace{Local: true}},
		},
		VMs: map[microvm.Name]VM{
			"web": {
				Host: "server1", Target: &microvm.Address{User: "root", Host: "web.example.com"}, TargetSudo: true,
				Tags: []string{"prod", "web"}, Restart: "if-needed",
				UpdateFlake: "git+https://git.example.org/infra?ref=flake-update", BuildOn: &microvm.BuildPlace{Builder: &microvm.Address{User: "root", Host: "builder", Port: 22}},
				Health: &Health{Checks: health.Checks{TCP: []string{"10.0.0.5:443", "[fd00::5]:80"}, HTTP: []string{"http://10.0.0.5/healthz"}}, Command: "systemctl is-active nginx", Timeout: time.Minute},
			},
			"db":   {Host: "rack.b_2", Health: &Health{}},
			"bare": {},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(warnings) != 1 {
		t.Errorf("%q", warnings)
	}
	for i, key := range []string{"tags"} {
		if !strings.Contains(warnings[i], "`"+key+"`") || !strings.Contains(warnings[i], "nothing acts on it yet") {
			t.Errorf("warning %q is not about %s", warnings[i], key)
		}
	}
	if host, ok := got.HostOf("web"); !ok || host.Address.Host != "server1.example.com" {
		t.Errorf("%+v, %v", host, ok)
	}
	// The VM's own, its host's, none.
	for name, want := range map[microvm.Name]string{"web": "ssh-ng://root@builder:22", "db": "local", "bare": ""} {
		if place := got.BuildOn(name); (place == nil) != (want == "") || place != nil && place.String() != want {
			t.Errorf("%s is built on %v", name, place)
		}
	}
	for _, name := range []microvm.Name{"bare", "nobody"} {
		if host, ok := got.HostOf(name); ok {
			t.Errorf("%s has host %+v", name, host)
		}
	}
}

func TestDecodeNoFleet(t *testing.T) {
	for _, s := range []string{"", "null", "{}", `{"hosts":{},"vms":null}`} {
		f, warnings, err := DecodeFleet([]byte(s))
		if err != nil || warnings != nil || f.Hosts != nil || f.VMs != nil {
			t.Errorf("%q: %+v, %q, %v", s, f, warnings, err)
		}
	}
}

func TestDecodeFleetRefuses(t *testing.T) {
	h := func(host string) string { return `{"hosts":{"h":` + host + `}}` }
	vm := func(vm string) string { return `{"hosts":{"h":{"address":"a"}},"vms":{"web":` + vm + `}}` }
	for _, c := range []struct{ name, data, path, message string }{
		{"not a set", `[]`, "ferry", "is a list; expected an attribute set"},
		{"unknown at the top", `{"host":{}}`, "ferry.host", "did you mean `hosts`?"},
		{"unknown of a host", h(`{"address":"a","adress":"b"}`), "ferry.hosts.h.adress", "did you mean `address`?"},
		{"unknown of a VM", vm(`{"targetsudo":true}`), "ferry.vms.web.targetsudo", "did you mean `targetSudo`?"},
		{"unknown without a near one", vm(`{"zzzzzz":true}`), "ferry.vms.web.zzzzzz", "known are: host, target,"},
		{"unknown that is null", vm(`{"taget":null}`), "ferry.vms.web.taget", "did you mean `target`?"},
		{"unknown of health", vm(`{"health":{"https":[]}}`), "ferry.vms.web.health.https", "did you mean `http`?"},
		{"unknown that needs quotes", vm(`{"a b":1}`), `ferry.vms.web."a b"`, "not a known key"},
		{"no address", h(`{}`), "ferry.hosts.h", "has no `address`"},
		{"null address", h(`{"address":null}`), "ferry.hosts.h", "has no `address`"},
		{"address of a wrong type", h(`{"address":5}`), "ferry.hosts.h.address", "is the number 5; expected a string"},
		{"bad address", h(`{"address":"-oProxyCommand=x"}`), "ferry.hosts.h.address", "begins with `-`"},
		{"sudo as a string", h(`{"address":"a","sudo":"yes"}`), "ferry.hosts.h.sudo", `is the string "yes"; expected true or false`},
		{"host as a string", h(`"root@h"`), "ferry.hosts.h", "expected an attribute set"},
		{"bad host name", `{"hosts":{"-h":{"address":"a"}}}`, `ferry.hosts."-h"`, "is not a valid name for a host"},
		{"bad VM name", `{"vms":{"a..b":{}}}`, `ferry.vms."a..b"`, "is not a valid VM name"},
		{"unknown host", vm(`{"host":"hh"}`), "ferry.vms.web.host", "did you mean `h`?"},
		{"address for a host", vm(`{"host":"root@server"}`), "ferry.vms.web.host", "ferry.hosts does not have"},
		{"no hosts at all", `{"vms":{"web":{"host":"h"}}}`, "ferry.vms.web.host", "ferry.hosts does not have"},
		{"local target", vm(`{"target":"local"}`), "ferry.vms.web.target", "`local`"},
		{"bad target", vm(`{"target":"a:b"}`), "ferry.vms.web.target", "ssh://host:port"},
		{"tags as a string", vm(`{"tags":"x"}`), "ferry.vms.web.tags", "expected a list of strings"},
		{"tags with a number", vm(`{"tags":["x",1]}`), "ferry.vms.web.tags[1]", "the number 1; expected a string"},
		{"place to build", vm(`{"buildOn":"server1"}`), "ferry.vms.web.buildOn", "expected host, local or ssh-ng://"},
		{"place with settings", `{"hosts":{"a":{"address":"a","buildOn":"ssh-ng://b?ssh-key=/x"}}}`, "ferry.hosts.a.buildOn", "ssh_config"},
		{"empty tag", vm(`{"tags":[" "]}`), "ferry.vms.web.tags[0]", "empty"},
		{"restart", vm(`{"restart":"ifneeded"}`), "ferry.vms.web.restart", "did you mean `if-needed`?"},
		{"empty restart", vm(`{"restart":""}`), "ferry.vms.web.restart", "expected one of auto,"},
		{"updateFlake in the store", vm(`{"updateFlake":"path:/nix/store/x"}`), "ferry.vms.web.updateFlake", "store"},
		{"tcp without a port", vm(`{"health":{"tcp":["h"]}}`), "ferry.vms.web.health.tcp[0]", "host:port"},
		{"tcp with a space", vm(`{"health":{"tcp":["a b:1"]}}`), "ferry.vms.web.health.tcp[0]", "host:port"},
		{"empty command", vm(`{"health":{"command":" "}}`), "ferry.vms.web.health.command", "is empty; expected a shell command"},
		{"command with a zero", vm(`{"health":{"command":"a\u0000b"}}`), "ferry.vms.web.health.command", "no command can have"},
		{"command as a list", vm(`{"health":{"command":["a"]}}`), "ferry.vms.web.health.command", "is a list; expected a string"},
		{"http without a scheme", vm(`{"health":{"http":["h/x"]}}`), "ferry.vms.web.health.http[0]", "http://"},
		{"fraction", vm(`{"health":{"timeout":1.5}}`), "ferry.vms.web.health.timeout", "the number 1.5; expected an integer"},
		{"zero", vm(`{"health":{"timeout":0}}`), "ferry.vms.web.health.timeout", "from 1 to"},
		{"huge", vm(`{"health":{"timeout":1e99}}`), "ferry.vms.web.health.timeout", "expected an integer"},
		{"timeout as a string", vm(`{"health":{"timeout":"60"}}`), "ferry.vms.web.health.timeout", `the string "60"`},
		{"garbage", `{`, "ferry", "cannot be read"},
		{"two values", `{}{}`, "ferry", "more than one value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, _, err := DecodeFleet([]byte(c.data))
			var schema *SchemaError
			if !errors.As(err, &schema) {
				t.Fatalf("%+v, %v", f, err)
			}
			if schema.Path != c.path || !strings.Contains(schema.Message, c.message) {
				t.Errorf("%q: %q; want %q: …%q…", schema.Path, schema.Message, c.path, c.message)
			}
			if f.Hosts != nil || f.VMs != nil {
				t.Errorf("a fleet came with the error: %+v", f)
			}
		})
	}
}

func FuzzFleet(f *testing.F) {
	f.Add([]byte(wholeFleet))
	f.Add([]byte(`{"hosts":{"a":{"address":"local"}},"vms":{"b":{"host":"a"}}}`))
	f.Add([]byte(`{"vms":{"web":{"health":{"timeout":1e3,"tcp":["[::1]:1"]}}}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fleet, warnings, err := DecodeFleet(data)
		if err != nil {
			var schema *SchemaError
			if !errors.As(err, &schema) || !strings.HasPrefix(schema.Path, "ferry") || schema.Message == "" {
				t.Fatalf("%q: %#v", data, err)
			}
			return
		}
		if len(data) > 0 && len(strings.TrimSpace(string(data))) > 0 && !json.Valid(data) {
			t.Errorf("accepted %q", data)
		}
		if len(warnings) > 3 {
			t.Errorf("%q", warnings)
		}
		for name, h := range fleet.Hosts {
			if again, err := microvm.ParseAddress(h.Address.String()); err != nil || again != h.Address {
				t.Errorf("host %q: %+v", name, h)
			}
		}
		for name, vm := range fleet.VMs {
			if _, err := microvm.ParseName(string(name)); err != nil {
				t.Error(err)
			}
			if _, known := fleet.Hosts[vm.Host]; vm.Host != "" && !known {
				t.Errorf("%q is on no host: %+v", name, vm)
			}
			if vm.Target != nil && vm.Target.Local || vm.UpdateFlake != "" && CheckUpdateRef(vm.UpdateFlake) != nil {
				t.Errorf("%q: %+v", name, vm)
			}
		}
	})
}
