package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
)

// sshConfig is what `ssh -G` prints for a destination: the user's whole
// configuration, keys in lower case. Only the first of repeated keys is kept.
type sshConfig map[string]string

func readConfig(ctx context.Context, s *ssh) (sshConfig, error) {
	var out bytes.Buffer
	var messages tail
	cmd := exec.CommandContext(ctx, "ssh", s.args("-G", "-T")...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &messages, grace
	if err := cmd.Run(); err != nil {
		return nil, s.failure(ctx, err, messages.String())
	}
	cfg := parseConfig(&out)
	if cfg["hostname"] == "" {
		return nil, s.failure(ctx, errors.New("`ssh -G` says nothing"), messages.String())
	}
	return cfg, nil
}

func parseConfig(r io.Reader) sshConfig {
	cfg := sshConfig{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if _, has := cfg[key]; !has {
			cfg[key] = value
		}
	}
	return cfg
}

// controlPath is where the user's connections are shared, or empty.
func (c sshConfig) controlPath() string {
	if p := c["controlpath"]; p != "none" {
		return p
	}
	return ""
}

// multiplexes: new connections are to be shared.
func (c sshConfig) multiplexes() bool {
	return c.controlPath() != "" && !off(c["controlmaster"])
}

// persists: a shared connection outlives the session that opened it.
func (c sshConfig) persists() bool { return !off(c["controlpersist"]) }

func off(value string) bool {
	return value == "" || value == "no" || value == "false"
}

// defaults are our options where the user has set none: a machine that is gone
// is noticed after 10 s at the start and after a minute later on.
func (c sshConfig) defaults() []string {
	var o []string
	if c["connecttimeout"] == "none" || c["connecttimeout"] == "0" {
		o = append(o, "-o", "ConnectTimeout=10")
	}
	if c["serveraliveinterval"] == "0" {
		o = append(o, "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
	}
	return o
}

// sane undoes settings for interactive use that would break a session. Options
// that older versions of OpenSSH do not know are given only where needed.
func (c sshConfig) sane() []string {
	o := []string{"-o", "RemoteCommand=none"}
	for key, option := range map[string]string{
		"sessiontype":             "SessionType=default",
		"stdinnull":               "StdinNull=no",
		"forkafterauthentication": "ForkAfterAuthentication=no",
	} {
		value := c[key]
		if value != "" && value != "default" && !off(value) {
			o = append(o, "-o", option)
		}
	}
	if l := strings.ToLower(c["loglevel"]); l == "quiet" || l == "fatal" {
		o = append(o, "-o", "LogLevel=ERROR") // else failures have no message
	}
	return o
}
