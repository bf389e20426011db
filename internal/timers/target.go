package timers

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/microvm"
)

// SetTarget is where the system inside a VM is, and whether sudo makes root there.
func (u *Update) SetTarget(n microvm.Name, a microvm.Address, sudo bool) {
	u.Target = append(u.Target, string(n)+"="+a.String())
	if sudo {
		u.TargetSudo = append(u.TargetSudo, string(n))
	}
}

// TargetOf is what SetTarget was told; nil where nobody has. The settings must have
// been decoded.
func (u *Update) TargetOf(n microvm.Name) (a *microvm.Address, sudo bool) {
	for _, t := range u.Target {
		if of, address, err := parseTarget(t); err == nil && of == n {
			return &address, slices.Contains(u.TargetSudo, string(n))
		}
	}
	return nil, false
}

// parseTarget reads VM=[USER@]HOST.
func parseTarget(s string) (microvm.Name, microvm.Address, error) {
	name, where, found := strings.Cut(s, "=")
	if !found {
		return "", microvm.Address{}, errors.New("expected VM=[USER@]HOST")
	}
	n, err := microvm.ParseName(name)
	if err != nil {
		return "", microvm.Address{}, err
	}
	a, err := microvm.ParseAddress(where)
	if err == nil && a.Local {
		err = errors.New("the system inside a VM is never `local`")
	}
	return n, a, err
}

func (u *Update) checkTargets() error {
	var named []string
	for i, t := range u.Target {
		n, _, err := parseTarget(t)
		switch {
		case err != nil:
		case slices.Contains(named, string(n)):
			err = fmt.Errorf("%s has two", n)
		case len(u.VMs) > 0 && !slices.Contains(u.VMs, string(n)):
			err = fmt.Errorf("%s is not one of `vms`", n)
		}
		if err != nil {
			return &SettingsError{Path: fmt.Sprintf("update.target[%d]", i), Why: fmt.Sprintf("is wrong: %v", err)}
		}
		named = append(named, string(n))
	}
	for i, n := range u.TargetSudo {
		if !slices.Contains(named, n) {
			return &SettingsError{Path: fmt.Sprintf("update.targetSudo[%d]", i), Why: fmt.Sprintf("is wrong: %.40q has no `target`", n)}
		}
	}
	return nil
}
