package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ferry/internal/remote"
	"ferry/internal/trouble"
)

// slowLogin is how long a login shell may take before each command without being
// mentioned: a deployment starts about ten.
const slowLogin = 3 * time.Second

// JudgeSettings judges what ssh_config says of a machine.
func JudgeSettings(where Where, machine string, f remote.Settings, err error) []Finding {
	s := &sheet{where: where, machine: machine}
	if err != nil {
		s.failed("ssh-config", Problem, err, "%v", err)
		return s.found
	}
	if f.ControlPath != "" {
		dir := filepath.Dir(f.ControlPath)
		if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
			s.add("ssh-config", Problem, "mkdir -m 700 "+dir, "your ssh_config shares connections by ControlPath in %s, which is not a directory", dir)
			return s.found
		}
	}
	if f.Unchecked {
		s.add("ssh-config", Warning, "remove StrictHostKeyChecking from your ssh_config", "your ssh_config turns host-key checking off: whoever is in between can pass for that machine")
		return s.found
	}
	how := "directly"
	if f.Through != "" {
		how = "through " + f.Through
	}
	s.ok("ssh-config", "ssh connects to %s, port %s, %s", f.HostName, f.Port, how)
	return s.found
}

// JudgeConnection judges how a login has gone.
func JudgeConnection(where Where, machine string, err error, took time.Duration) []Finding {
	s := &sheet{where: where, machine: machine}
	var failed *remote.ConnectError
	switch {
	case err == nil:
		s.ok("connection", "logged in within %s", took.Round(time.Millisecond))
		s.ok("host-key", "the host key is the known one")
	case errors.As(err, &failed) && (failed.Kind == remote.UnknownHostKey || failed.Kind == remote.ChangedHostKey):
		s.failed("host-key", Problem, err, "%v", err)
		s.unknown("connection", "its host key is not accepted")
	default:
		s.failed("connection", Problem, err, "%v", err)
	}
	return s.found
}

// JudgeLogin judges what a login shell does before a command; limit is how long was
// waited for it.
func JudgeLogin(where Where, machine string, l remote.Login, limit time.Duration) []Finding {
	s := &sheet{where: where, machine: machine}
	quiet := "have its start-up files (~/.bashrc, ~/.profile, /etc/profile.d and the like) return early in shells that are not interactive: case $- in *i*) ;; *) return ;; esac"
	switch {
	case l.Endless:
		s.add("login-endless", Problem, quiet, "its login shell prints without end before a command: %d KiB until it was ended, beginning with %q", l.Noise>>10, firstLine(l.First)).See = trouble.NoisyShell
		return s.found
	case l.Late:
		s.add("login-slow", Problem, quiet+"; see what they wait for", "its login shell has not come to a command within %s%s", limit, afterNoise(l)).See = trouble.NoisyShell
		return s.found
	case !l.Began && l.Err != nil:
		s.failed("login-shell", Problem, l.Err, "a command does not run: %v", l.Err)
		return s.found
	case !l.Began || l.UID == "":
		s.add("login-shell", Problem, "the login needs a shell that runs commands: see what `ssh HOST sh -c id` prints", "its login shell does not run `sh -c`%s", afterNoise(l))
		return s.found
	}
	s.ok("login-shell", "commands run as %s", l.User)
	s.ok("login-endless", "its login shell comes to the command")
	switch {
	case l.Noise > 0 && where == Guest:
		s.add("login-noise", Note, quiet, "its login shell prints %d bytes before a command (%q)", l.Noise, firstLine(l.First)).See = trouble.NoisyShell
	case l.Noise > 0:
		s.add("login-noise", Problem, quiet, "its login shell prints %d bytes before a command (%q), which breaks Nix's own connections", l.Noise, firstLine(l.First)).See = trouble.NoisyShell
	default:
		s.ok("login-noise", "its login shell prints nothing")
	}
	if l.After > slowLogin {
		s.add("login-slow", Warning, quiet+"; see what they wait for", "its login shell takes %s before each command, and a deployment runs about ten", l.After.Round(time.Second/10)).See = trouble.NoisyShell
	} else {
		s.ok("login-slow", "a command begins after %s", l.After.Round(time.Millisecond))
	}
	return s.found
}

func afterNoise(l remote.Login) string {
	if l.Noise == 0 {
		return ""
	}
	return "; it printed " + strings.TrimSpace(firstLine(l.First))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimLeft(s, "\r\n"), "\n")
	return line
}

// Rooting is how a deployment would become root.
type Rooting struct {
	Sudo     bool // it may use sudo
	Terminal bool // there is somebody to ask for a password
}

// JudgeRoot judges whether the login becomes root.
func JudgeRoot(where Where, machine string, l remote.Login, r Rooting) []Finding {
	s := &sheet{where: where, machine: machine}
	rules := "log in as root, or give " + l.User + " NOPASSWD: ALL in sudo's rules there"
	switch {
	case l.Sudo == "root":
		s.ok("root", "the login is root's")
	case l.Sudo == "none":
		s.add("root", Problem, "log in as root, or install sudo there", "%s is not root, and there is no sudo", l.User).See = trouble.Sudo
	case l.Sudo == "forbidden":
		s.add("root", Problem, "add "+l.User+" to sudo's rules there, or log in as root", "sudo does not let %s in", l.User).See = trouble.Sudo
	case !r.Sudo:
		s.add("root", Problem, "log in as root, or use --"+string(sudoFlag(where))+"-sudo (in the flake: sudo = true)", "%s is not root", l.User).See = trouble.Sudo
	case l.Sudo == "quiet":
		s.ok("root", "sudo lets %s in without a password", l.User)
	case l.Sudo == "password" && r.Terminal:
		s.add("root", Note, rules, "sudo wants a password, which ferry asks for on the terminal; timers and CI can't give it").See = trouble.Sudo
	case l.Sudo == "password":
		s.add("root", Problem, rules+", or run ferry on a terminal", "sudo wants a password, and there is no terminal to ask for it").See = trouble.Sudo
	default:
		s.unknown("root", "the login does not say how it becomes root")
	}
	return s.found
}

func sudoFlag(where Where) Where {
	if where == Guest {
		return "target"
	}
	return where
}

// hasRoot: what needs root can be tried.
func hasRoot(found []Finding) bool {
	for _, f := range found {
		if f.What == "root" && f.Severity != OK && f.Severity != Note {
			return false
		}
	}
	return true
}

// MayGoOn reports whether anything more can be found out after these findings of a
// machine: somebody runs commands there, as root.
func MayGoOn(found []Finding) bool {
	for _, f := range found {
		switch f.What {
		case "connection", "host-key", "login-shell", "login-endless":
			if f.Severity == Problem {
				return false
			}
		case "login-slow":
			if f.Severity == Problem {
				return false
			}
		}
	}
	return hasRoot(found)
}
