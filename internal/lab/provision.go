package lab

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// file is one that provisioning writes.
type file struct {
	path    string
	content string
	mode    fs.FileMode
	owner   string // a user of the root file system; default root
}

// LoginUsers are the accounts besides root that the operator's key opens on
// hosts and guests: deploy may use sudo without a password, admin with the
// password AdminPassword, nosudo not at all.
var LoginUsers = [...]string{"deploy", "admin", "nosudo"}

// AdminPassword is what sudo asks admin for.
const AdminPassword = "ferrylab"

// provision writes what makes the common root file system this machine. It is
// done before every start, so that what a test broke is whole again.
func (m *Machine) provision() error {
	files, err := m.commonFiles()
	if err != nil {
		return err
	}
	switch m.kind {
	case kindOperator:
		more, err := m.operatorFiles()
		if err != nil {
			return err
		}
		files = append(files, more...)
	case kindHost:
		files = append(files, m.hostFiles()...)
	}
	if m.kind != kindOperator {
		more, err := m.loginFiles()
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	return m.write(files)
}

// refresh tells a running machine of machines that came after it.
func (m *Machine) refresh() error {
	hosts := m.lab.hostsFile()
	if old, err := os.ReadFile(m.Path("/etc/hosts")); err == nil && string(old) == hosts {
		return nil
	}
	files := []file{{path: "/etc/hosts", content: hosts, mode: 0o644}}
	if m.kind == kindOperator {
		known, err := m.lab.knownHosts()
		if err != nil {
			return err
		}
		files = append(files, file{path: "/root/.ssh/known_hosts", content: known, mode: 0o600})
	}
	return m.write(files)
}

func (m *Machine) commonFiles() ([]file, error) {
	key, _, err := m.lab.key(m.Name)
	if err != nil {
		return nil, err
	}
	nixConf := "experimental-features = nix-command flakes\nsandbox = false\nsubstituters =\n"
	if !m.daemon {
		nixConf += "build-users-group =\n"
	}
	files := []file{
		{path: "/etc/hosts", content: m.lab.hostsFile(), mode: 0o644},
		{path: "/etc/ssh/ssh_host_ed25519_key", content: key, mode: 0o600},
		{path: "/etc/nix/nix.conf", content: nixConf, mode: 0o644},
	}
	if m.kind != kindHost {
		files = append(files, file{path: "/etc/systemd/network/10-lab.network", mode: 0o644, content: fmt.Sprintf(
			"[Match]\nName=host0\n\n[Network]\nAddress=%s/24\nLinkLocalAddressing=no\n", m.Addr)})
	}
	if m.kind != kindGuest {
		// A guest has the name of the system that it boots.
		files = append(files, file{path: "/etc/hostname", content: m.Name + "\n", mode: 0o644})
	}
	// Each takes an inotify instance of 128 that Linux gives all of root's
	// processes, whatever container they are in; nobody is there to ask.
	masked := []string{"systemd-ask-password-console.path", "systemd-ask-password-wall.path"}
	if !m.daemon {
		masked = append(masked, "nix-daemon.socket", "nix-daemon.service")
	}
	for _, unit := range masked {
		if err := m.mask(unit); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (m *Machine) operatorFiles() ([]file, error) {
	key, pub, err := m.lab.key("login")
	if err != nil {
		return nil, err
	}
	known, err := m.lab.knownHosts()
	if err != nil {
		return nil, err
	}
	return []file{
		{path: "/root/.ssh/id_ed25519", content: key, mode: 0o600},
		{path: "/root/.ssh/id_ed25519.pub", content: pub, mode: 0o644},
		{path: "/root/.ssh/known_hosts", content: known, mode: 0o600},
		{path: "/root/.ssh/config", content: "Host *\n\tConnectTimeout 10\n", mode: 0o600},
		{path: "/root/.gitconfig", content: "[user]\n\tname = Operator\n\temail = operator@example.org\n[init]\n\tdefaultBranch = main\n", mode: 0o644},
	}, nil
}

// loginFiles let the operator log in as root and as every LoginUsers.
func (m *Machine) loginFiles() ([]file, error) {
	_, pub, err := m.lab.key("login")
	if err != nil {
		return nil, err
	}
	files := []file{{path: "/root/.ssh/authorized_keys", content: pub, mode: 0o600}}
	for _, u := range LoginUsers {
		files = append(files, file{path: "/home/" + u + "/.ssh/authorized_keys", content: pub, mode: 0o600, owner: u})
	}
	return files, nil
}

// hostFiles are a bridge that the guests' taps join, so that guests are on the
// lab's network. All else that a host needs is for `ferry host setup`.
func (m *Machine) hostFiles() []file {
	files := []file{
		{path: "/etc/systemd/network/10-br0.netdev", mode: 0o644, content: fmt.Sprintf(
			"[NetDev]\nName=br0\nKind=bridge\nMACAddress=%s\n", m.mac())},
		{path: "/etc/systemd/network/10-host0.network", mode: 0o644, content: "[Match]\nName=host0\n\n[Network]\nBridge=br0\n"},
		{path: "/etc/systemd/network/10-br0.network", mode: 0o644, content: fmt.Sprintf(
			"[Match]\nName=br0\n\n[Network]\nAddress=%s/24\nLinkLocalAddressing=no\nConfigureWithoutCarrier=yes\n", m.Addr)},
		{path: "/etc/systemd/network/20-taps.network", mode: 0o644, content: "[Match]\nName=vm-*\n\n[Network]\nBridge=br0\n"},
	}
	if !m.bare {
		// Tests start VMs in quick succession, and process runners need no time.
		files = append(files, file{path: startGate, mode: 0o644, content: "[Service]\nEnvironment=STARTS_AT_ONCE=64 BOOT_SECONDS=0\n"})
	}
	return files
}

// mac follows the address, so that a machine with a new disk is found at once by
// those who knew it before.
func (m *Machine) mac() string {
	ip := net.ParseIP(m.Addr).To4()
	return net.HardwareAddr(append([]byte{0x06, 0x00}, ip...)).String()
}

// startGate adapts how many VMs of a host start at once.
const startGate = "/etc/systemd/system/microvm-start-gate@.service.d/lab.conf"

func (m *Machine) mask(unit string) error {
	link := m.Path("/etc/systemd/system/" + unit)
	if to, err := os.Readlink(link); err == nil && to == "/dev/null" {
		return nil
	}
	return os.Symlink("/dev/null", link)
}

// hostsFile names every machine and VM. unknown-host1 is host1 under a name
// whose host key nobody has pinned.
func (l *Lab) hostsFile() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, m := range l.machines {
		fmt.Fprintf(&b, "%s %s\n", m.Addr, m.Name)
		if m.kind == kindHost {
			fmt.Fprintf(&b, "%s unknown-%s\n", m.Addr, m.Name)
		}
	}
	vms := vmAddrs()
	for _, name := range slices.Sorted(maps.Keys(vms)) {
		fmt.Fprintf(&b, "%s %s\n", vms[name], name)
	}
	return b.String()
}

// knownHosts pins the host keys of all names but unknown-*.
func (l *Lab) knownHosts() (string, error) {
	var b strings.Builder
	pin := func(names, key string) error {
		_, pub, err := l.key(key)
		if err == nil {
			fmt.Fprintf(&b, "%s %s", names, pub)
		}
		return err
	}
	byAddr := map[string]string{}
	for _, m := range l.machines {
		byAddr[m.Addr] = m.Name
		if err := pin(m.Name+","+m.Addr, m.Name); err != nil {
			return "", err
		}
	}
	vms := vmAddrs()
	for _, name := range slices.Sorted(maps.Keys(vms)) {
		key, names := "vm", name+","+vms[name]
		if machine, ok := byAddr[vms[name]]; ok {
			key, names = machine, name
		}
		if err := pin(names, key); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// write writes files below the machine's root file system. The machine is
// stopped, and its tree is trusted: only tests have worked in it.
func (m *Machine) write(files []file) error { return writeBelow(m.Path("/"), files) }

func writeBelow(root string, files []file) error {
	passwd, err := os.ReadFile(filepath.Join(root, "/etc/passwd"))
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(root, f.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		// Not through a link (Debian's /etc may hold some).
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.WriteFile(path, []byte(f.content), f.mode); err != nil {
			return err
		}
		if f.owner == "" {
			continue
		}
		uid, gid, err := lookup(string(passwd), f.owner)
		if err != nil {
			return err
		}
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func lookup(passwd, user string) (uid, gid int, err error) {
	for line := range strings.Lines(passwd) {
		f := strings.Split(line, ":")
		if len(f) > 3 && f[0] == user {
			_, err := fmt.Sscan(f[2]+" "+f[3], &uid, &gid)
			return uid, gid, err
		}
	}
	return 0, 0, fmt.Errorf("no user %s in the root file system", user)
}
