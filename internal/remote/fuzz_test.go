package remote

import (
	"bufio"
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

// A host may say anything before the helper does, and instead of it.
func FuzzHelperAnswer(f *testing.F) {
	f.Add("Welcome!\nferry-helper: ok\n{}")
	f.Add("ferry-helper: missing gzip Linux x86_64\n")
	f.Add("ferry-helper: refused \x1b[31m\n")
	f.Fuzz(func(t *testing.T, said string) {
		r := strings.NewReader(said)
		answer, err := readAnswer(bufio.NewReader(r))
		if err == nil && !strings.Contains(said, "ferry-helper: ") {
			t.Errorf("%q was an answer: %q", said, answer)
		}
		if strings.Contains(answer, "\n") {
			t.Errorf("%q", answer)
		}
	})
}
