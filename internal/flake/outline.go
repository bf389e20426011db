package flake

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

//go:embed outline.nix
var outlineExpression string

// Outline is what completion offers of a flake. In contrast to a Fleet, it is read
// leniently: what is wrong in the flake is left out.
type Outline struct {
	Hosts map[string]microvm.Address
	VMs   map[microvm.Name]OutlinedVM
}

// OutlinedVM is one VM; every field may be empty.
type OutlinedVM struct {
	Host   string // a key of Outline.Hosts
	Target *microvm.Address
	Tags   []string // any text
}

const maxOutlined = 4096 // hosts, VMs, tags of a VM

// Outline evaluates the names alone, as the press of a key may: it builds nothing,
// asks nobody, writes no lock file and uses no network. So it fails for a flake
// whose inputs are not here yet, where these are needed. DecodeOutline reads the
// result. The errors are those of nix.Eval, or about the reference.
func (e *Evaluator) Outline(ctx context.Context, ref string) ([]byte, error) {
	ref, err := Source{Ref: ref}.checkedRef()
	if err != nil {
		return nil, err
	}
	n := nix.Nix{Program: e.Nix.Program, Env: append(noNetwork(), e.Nix.Env...)}
	return n.Eval(ctx, nix.EvalRequest{
		Installable: ref + "#.", // as in Evaluate
		Apply:       outlineExpression,
		Options: []string{
			"--offline", "--no-write-lock-file",
			"--option", "allow-import-from-derivation", "false",
			"--option", "accept-flake-config", "false",
		},
	})
}

// noNetwork is an environment in which Nix fetches nothing from elsewhere. Its
// --offline still tries to, where it has never fetched a thing. Port 9 of this
// machine refuses at once; git takes no way but that through files.
func noNetwork() []string {
	const nowhere = "http://127.0.0.1:9"
	return []string{
		"http_proxy=" + nowhere, "https_proxy=" + nowhere, "all_proxy=" + nowhere,
		"HTTP_PROXY=" + nowhere, "HTTPS_PROXY=" + nowhere, "ALL_PROXY=" + nowhere,
		"no_proxy=", "NO_PROXY=", "GIT_ALLOW_PROTOCOL=file", "GIT_SSH_COMMAND=false", "GIT_TERMINAL_PROMPT=0",
	}
}

// DecodeOutline reads what outline.nix yields. Names and addresses that nobody could
// type after a command are left out.
func DecodeOutline(data []byte) (Outline, error) {
	var out struct {
		Hosts map[string]string
		VMs   map[string]struct {
			Host, Target string
			Tags         []string
		}
		Configurations []string
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return Outline{}, fmt.Errorf("reading the names of a flake: %w", err)
	}
	o := Outline{Hosts: map[string]microvm.Address{}, VMs: map[microvm.Name]OutlinedVM{}}
	for name, address := range out.Hosts {
		a, err := microvm.ParseAddress(address)
		if err == nil && len(name) <= microvm.MaxNameLength && hostNamePattern.MatchString(name) && len(o.Hosts) < maxOutlined {
			o.Hosts[name] = a
		}
	}
	add := func(name string, vm OutlinedVM) {
		if n, err := microvm.ParseName(name); err == nil && len(o.VMs) < maxOutlined {
			o.VMs[n] = vm
		}
	}
	for name, given := range out.VMs {
		vm := OutlinedVM{Host: given.Host, Tags: given.Tags[:min(len(given.Tags), maxOutlined)]}
		if a, err := microvm.ParseAddress(given.Target); err == nil && !a.Local {
			vm.Target = &a
		}
		if _, known := o.Hosts[vm.Host]; !known {
			vm.Host = ""
		}
		add(name, vm)
	}
	for _, name := range out.Configurations {
		add(name, OutlinedVM{})
	}
	return o, nil
}
