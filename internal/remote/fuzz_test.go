package remote

import (
	"strings"
	"testing"
)

// What `ssh -G` prints is the user's own configuration; whatever is in it, the
// options that are made of it are of the kinds that ferry means to give, and none
// weakens the checking of host keys.
func FuzzSSHConfig(f *testing.F) {
	f.Add("hostname example.org\ncontrolmaster auto\ncontrolpath /tmp/x-%C\ncontrolpersist 600\n")
	f.Add("hostname -oProxyCommand=x\nloglevel quiet\nsessiontype none\nstdinnull yes\nconnecttimeout none\n")
	f.Add("hostname\n\n \x00\nstricthostkeychecking no")
	f.Fuzz(func(t *testing.T, text string) {
		cfg := parseConfig(strings.NewReader(text))
		_, _, _ = cfg.controlPath(), cfg.multiplexes(), cfg.persists()
		options := append(cfg.sane(), cfg.defaults()...)
		for i := 0; i < len(options); i += 2 {
			key, _, _ := strings.Cut(options[i+1], "=")
			switch key {
			case "RemoteCommand", "SessionType", "StdinNull", "ForkAfterAuthentication", "LogLevel", "ConnectTimeout", "ServerAliveInterval", "ServerAliveCountMax":
			default:
				t.Errorf("%q makes %q", text, options)
			}
		}
	})
}
