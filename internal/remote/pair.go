package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxSocketPath is what the path of a Unix socket may have on every system, in
// bytes.
const maxSocketPath = 100

// Pair gives the environment for a program of Nix's that talks to two machines
// at once, such as `nix copy --from A --to B`: NIX_SSHOPTS is one for all, so
// each session finds the open connection to its machine by the machine's name.
// remove takes away what was made for that.
func Pair(a, b Conn) (env []string, remove func(), err error) {
	from, to := sshOf(a), sshOf(b)
	switch {
	case from == nil && to == nil:
		return nil, func() {}, nil
	case from == nil:
		return b.NixCopy().Env, func() {}, nil
	case to == nil:
		return a.NixCopy().Env, func() {}, nil
	case from.addr.Host == to.addr.Host:
		return nil, nil, fmt.Errorf("%s and %s have the same name for ssh, so that one can't be told from the other", from.addr, to.addr)
	}
	dir, err := os.MkdirTemp(from.dir, "p")
	if err != nil {
		return nil, nil, fmt.Errorf("joining two connections: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	for _, s := range []*ssh{from, to} {
		link := filepath.Join(dir, s.addr.Host)
		if len(link) > maxSocketPath {
			err = fmt.Errorf("the name %.40s… is too long: give the machine a shorter one in ssh_config", s.addr.Host)
		} else {
			err = os.Symlink(s.socket, link)
		}
		if err != nil {
			remove()
			return nil, nil, fmt.Errorf("joining two connections: %w", err)
		}
	}
	words := []string{
		"-o", "ControlMaster=no", "-o", "ControlPath=" + strings.ReplaceAll(dir, "%", "%%") + "/%n", "-o", "ProxyCommand=false",
	}
	words = append(words, to.words...)
	return []string{"NIX_SSHOPTS=" + strings.Join(words, " ")}, remove, nil
}

// sshOf is nil for this machine.
func sshOf(c Conn) *ssh {
	m, ok := c.(*machine)
	if !ok {
		return nil
	}
	s, _ := m.w.(*ssh)
	return s
}
