package remote

import "strings"

func (m *machine) NixCopy() NixTarget {
	authority, env := m.w.nix()
	if authority == "" {
		return NixTarget{}
	}
	// More than one connection makes Nix 2.26 hang for ever.
	query := []string{"max-connections=1"}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.root.prefix) > 0 && m.root.password == nil {
		query = append(query, "remote-program="+strings.Join(sudoQuiet[:2], "%20")+"%20nix-daemon")
	}
	return NixTarget{Store: "ssh-ng://" + authority + "?" + strings.Join(query, "&"), Env: env}
}
