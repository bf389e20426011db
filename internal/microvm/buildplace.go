package microvm

import (
	"fmt"
	"strings"
)

// BuildPlace is where a VM's runner is built. The zero value is the VM's own
// host.
type BuildPlace struct {
	Local   bool     // the machine where ferry is typed
	Builder *Address // another one, never Address.Local
}

// builderScheme is how Nix addresses a store that is reached over ssh.
const builderScheme = "ssh-ng://"

// ParseBuildPlace reads `host`, `local` or `ssh-ng://[user@]builder[:port]`.
func ParseBuildPlace(s string) (BuildPlace, error) {
	switch s {
	case "host":
		return BuildPlace{}, nil
	case "local":
		return BuildPlace{Local: true}, nil
	}
	fail := func(why string) (BuildPlace, error) {
		return BuildPlace{}, fmt.Errorf("%.80q is not a place to build: %s (expected host, local or ssh-ng://[user@]builder[:port])", s, why)
	}
	rest, ok := strings.CutPrefix(s, builderScheme)
	if !ok {
		return fail("it is neither a known word nor an ssh-ng:// URL")
	}
	if strings.ContainsRune(rest, '?') {
		return fail("parameters after `?` are not supported; put them in ssh_config")
	}
	a, err := parseAddress("ssh://" + rest)
	if err != nil {
		return fail(err.Error())
	}
	return BuildPlace{Builder: &a}, nil
}

// OnHost: the host builds, and only derivations travel.
func (p BuildPlace) OnHost() bool { return !p.Local && p.Builder == nil }

// String is a form that ParseBuildPlace reads back.
func (p BuildPlace) String() string {
	switch {
	case p.Local:
		return "local"
	case p.Builder == nil:
		return "host"
	}
	return builderScheme + strings.TrimPrefix(p.Builder.String(), "ssh://")
}
