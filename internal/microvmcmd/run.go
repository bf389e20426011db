package microvmcmd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ferry/internal/host/inventory"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/shell"
)

// foreground runs a VM's current runner in its directory, in place of this
// process. A VM that runs is left alone: two hypervisors would share its disks.
func (c *Command) foreground(ctx context.Context, o Options) error {
	v, err := c.Machine.Look(ctx, o.Name)
	if err != nil {
		return err
	}
	switch {
	case v.State == hostapi.StateRunning, v.State == hostapi.StateStarting, v.State == hostapi.StateStopping, v.State == hostapi.StateUnconfirmed:
		return hostapi.Refuse(fmt.Sprintf("%s is already running (%s)", o.Name, v.State), "stop it first: systemctl stop "+o.Name.Unit())
	case v.Current == "":
		return hostapi.Refuse(fmt.Sprintf("%s can't be run: %s", o.Name, strings.Join(v.Problems, "; ")), "")
	}
	program := string(v.Current) + "/bin/microvm-run"
	if err := c.Exec(program, []string{"./current/bin/microvm-run"}, v.Dir); err != nil {
		return fmt.Errorf("running %s: %w", program, err)
	}
	return nil
}

// ssh logs in to a VM over vsock, in place of this process.
func (c *Command) ssh(ctx context.Context, o Options) error {
	vsock, err := c.Machine.FindVsock(ctx, o.Name)
	if err != nil {
		return err
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		return hostapi.Refuse("ssh is not installed on this machine", "install OpenSSH's client")
	}
	known, err := c.knownHosts()
	if err != nil {
		return err
	}
	argv := sshArguments(o, *vsock, c.Program, known)
	c.Report.Step(string(o.Name), "connecting over vsock")
	if err := c.Exec(program, argv, ""); err != nil {
		return fmt.Errorf("running ssh: %w", err)
	}
	return nil
}

// knownHosts is where the host keys of guests are pinned: a file of root's own,
// or the user's own list.
func (c *Command) knownHosts() (string, error) {
	if !c.Root {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding the file of known hosts: %w", err)
		}
		return filepath.Join(home, ".ssh", "known_hosts"), nil
	}
	if err := os.MkdirAll(c.Lib, 0o700); err != nil {
		return "", fmt.Errorf("making ferry's directory: %w", err)
	}
	return filepath.Join(c.Lib, "known_hosts"), nil
}

// Alias is the name under which a guest's host key is pinned: its address on
// vsock may be another VM's tomorrow.
func Alias(n microvm.Name) string { return "microvm-" + string(n) }

// sshArguments are those of ssh. The guest's key is pinned at the first login
// and checked from then on.
func sshArguments(o Options, vsock inventory.Vsock, ferry, known string) []string {
	proxy := strings.ReplaceAll(shell.Quote(ferry, "host", "vsock-proxy", string(o.Name)), "%", "%%")
	argv := []string{
		"ssh",
		"-o", "ProxyCommand=" + proxy, "-o", "ProxyUseFdpass=no",
		"-o", "HostKeyAlias=" + Alias(o.Name), "-o", "CheckHostIP=no",
		"-o", "StrictHostKeyChecking=accept-new", "-o", "HashKnownHosts=no", "-o", "UserKnownHostsFile=" + quoteOption(known),
	}
	destination := "vsock/" + strconv.FormatUint(uint64(vsock.CID), 10)
	if o.SSH { // options may follow the destination, and then a command
		if !saysLogin(o.Command) {
			argv = append(argv, "-l", "root")
		}
		return append(append(argv, destination), o.Command...)
	}
	return append(append(argv, "-l", "root", "--", destination), o.Command...)
}

// quoteOption is for a value that ssh splits at spaces and expands.
func quoteOption(s string) string {
	return `"` + strings.ReplaceAll(s, "%", "%%") + `"`
}

// saysLogin reports whether the options of ssh name the user to log in as.
func saysLogin(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		lower := strings.ToLower(strings.TrimPrefix(w, "-o"))
		return strings.HasPrefix(w, "-l") || w == "--login" || strings.HasPrefix(strings.TrimSpace(lower), "user=")
	})
}
