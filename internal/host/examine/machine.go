package examine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ferry/internal/host"
	"ferry/internal/host/setup"
	"ferry/internal/hostapi"
	"ferry/internal/nix"
	"ferry/internal/systemd"
)

// daemonSocket is where Nix's daemon listens.
const daemonSocket = "/nix/var/nix/daemon-socket/socket"

func (h Host) nix(ctx context.Context) (func(*hostapi.Examined), error) {
	n := hostapi.ExaminedNix{OnPath: nix.OnPath("nix-daemon")}
	version, err := h.Nix.Version(ctx)
	switch {
	case errors.Is(err, nix.ErrNoNix):
		n.Missing = true
		return func(e *hostapi.Examined) { e.Nix = n }, nil
	case err != nil:
		return nil, err
	}
	n.Version = version.Text
	socket := filepath.Join(h.Layout.Root, daemonSocket)
	if _, err := os.Stat(socket); err == nil {
		n.Socket = true
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
		if err == nil {
			n.Daemon = true
			_ = conn.Close()
		}
	}
	// An older Nix has another word for this; then nobody is known to be trusted.
	users, _ := h.Nix.TrustedUsers(ctx)
	n.TrustedUsers = few(users)
	return func(e *hostapi.Examined) { e.Nix = n }, nil
}

func kvm(context.Context) (func(*hostapi.Examined), error) {
	fi, err := os.Stat("/dev/kvm")
	if errors.Is(err, os.ErrNotExist) {
		return func(*hostapi.Examined) {}, nil
	}
	if err != nil {
		return nil, err
	}
	k := hostapi.ExaminedKVM{Present: true, Mode: fi.Mode().String()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		k.Mode = fmt.Sprintf("%04o, group %d", fi.Mode().Perm(), st.Gid)
		if g, err := user.LookupGroup("kvm"); err == nil {
			k.Group = g.Gid == strconv.Itoa(int(st.Gid)) && fi.Mode().Perm()&0o060 == 0o060
		}
	}
	k.Group = k.Group || fi.Mode().Perm()&0o006 == 0o006
	return func(e *hostapi.Examined) { e.KVM = k }, nil
}

// sshd asks it for the settings that it has outside of Match blocks.
func sshd(ctx context.Context) (func(*hostapi.Examined), error) {
	program := ""
	for _, p := range []string{"/usr/sbin/sshd", "/run/current-system/sw/bin/sshd", "/usr/bin/sshd"} {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
			program = p
			break
		}
	}
	if program == "" {
		return nil, errors.New("sshd was not found")
	}
	out, err := exec.CommandContext(ctx, program, "-T").Output()
	if err != nil {
		return nil, fmt.Errorf("%s -T: %w", program, err)
	}
	s := sshdSettings(string(out))
	return func(e *hostapi.Examined) { e.SSHD = s }, nil
}

func sshdSettings(said string) hostapi.ExaminedSSHD {
	var s hostapi.ExaminedSSHD
	for line := range strings.Lines(said) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "maxsessions":
			s.MaxSessions, _ = strconv.Atoi(value)
			if s.MaxSessions == 0 {
				s.MaxSessions = -1 // none, not: not known
			}
		case "maxstartups":
			s.MaxStartups = short(value)
		}
	}
	return s
}

func (h Host) setup(ctx context.Context) (func(*hostapi.Examined), error) {
	s, err := setup.New(ctx, h.Programs)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var seen hostapi.ExaminedSetup
	report, err := s.Apply(ctx, true)
	var refused *hostapi.Failure
	switch {
	case errors.As(err, &refused):
		seen.Refused = short(refused.Message)
	case err != nil:
		return nil, err
	default:
		seen.Outcome = string(report.Outcome)
		for _, c := range report.Changes {
			if len(seen.Changes) < maxNames && !strings.HasPrefix(c.Name, h.Layout.StateDir+"/") { // those are the look `state`'s
				seen.Changes = append(seen.Changes, hostapi.ExaminedThing{Verb: c.Verb, Kind: c.Kind, Name: short(c.Name), Note: short(c.Note)})
			}
		}
	}
	nixos := setup.IsNixOS(h.Layout.Root)
	return func(e *hostapi.Examined) { e.Setup, e.NixOS = seen, nixos }, nil
}

func systemdVersion(_ context.Context, units *systemd.Manager) (func(*hostapi.Examined), error) {
	v, err := units.Version()
	return func(e *hostapi.Examined) { e.Systemd = short(v) }, err
}

func door(d hostapi.GuestDoor) func(context.Context) (func(*hostapi.Examined), error) {
	return func(ctx context.Context) (func(*hostapi.Examined), error) {
		seen := hostapi.ExaminedDoor{Asked: d.Address()}
		err := host.Knock(ctx, d)
		seen.Reached = err == nil
		if err != nil {
			seen.Why = short(err.Error())
		}
		return func(e *hostapi.Examined) { e.Door = seen }, nil
	}
}
