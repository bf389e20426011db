package flake

import (
	"encoding/json"
	"maps"
	"slices"

	"ferry/internal/health"
)

// members are those of an object of JSON, of which only some are looked at.
type members map[string]json.RawMessage

// member is the object behind a key; nil where there is none.
func (o members) member(key string) (members, error) {
	var m members
	if raw := o[key]; len(raw) > 0 {
		return m, json.Unmarshal(raw, &m)
	}
	return m, nil
}

func (o members) set(key string, value any) error {
	raw, err := json.Marshal(value)
	o[key] = raw
	return err
}

// withoutSecrets is what record.nix yielded without the checks that may contain a
// secret, and the VMs whose checks they are.
func withoutSecrets(output []byte) (open []byte, withheld []string, err error) {
	var top members
	if err := json.Unmarshal(output, &top); err != nil {
		return nil, nil, err
	}
	ferry, err := top.member("ferry")
	if err != nil {
		return nil, nil, err
	}
	vms, err := ferry.member("vms")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(vms)) {
		vm, err := vms.member(name)
		if err != nil {
			return nil, nil, err
		}
		checks, err := vm.member("health")
		if err != nil {
			return nil, nil, err
		}
		has, err := checks.dropSecrets()
		switch {
		case err != nil:
			return nil, nil, err
		case has:
			withheld = append(withheld, name)
			if err := vm.set("health", checks); err != nil {
				return nil, nil, err
			}
			if err := vms.set(name, vm); err != nil {
				return nil, nil, err
			}
		}
	}
	if len(withheld) == 0 {
		return output, nil, nil
	}
	if err := ferry.set("vms", vms); err != nil {
		return nil, nil, err
	}
	if err := top.set("ferry", ferry); err != nil {
		return nil, nil, err
	}
	open, err = json.Marshal(top)
	return open, withheld, err
}

// dropSecrets leaves out of a VM's `health` what may contain a secret, and reports
// whether there was something. A command that does not look so stays: it is in the
// flake, and so in the store, where everybody can read it.
func (o members) dropSecrets() (dropped bool, err error) {
	var command string
	if raw := o["command"]; len(raw) > 0 {
		if err := json.Unmarshal(raw, &command); err != nil {
			return false, err
		}
	}
	if health.LooksSecret(command) {
		delete(o, "command")
		dropped = true
	}
	for _, k := range health.Kinds() {
		var c health.Checks
		if raw := o[k.Name]; len(raw) > 0 {
			if err := json.Unmarshal(raw, k.Of(&c)); err != nil {
				return false, err
			}
		}
		open, withheld := c.Open()
		if len(withheld) == 0 {
			continue
		}
		dropped = true
		delete(o, k.Name)
		if len(*k.Of(&open)) == 0 {
			continue
		}
		if err := o.set(k.Name, *k.Of(&open)); err != nil {
			return false, err
		}
	}
	return dropped, nil
}
