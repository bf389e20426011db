package microvm

import (
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for s, want := range map[string]Address{
		"local":                        {Local: true},
		"server1":                      {Host: "server1"},
		"root@server1.example.com":     {User: "root", Host: "server1.example.com"},
		"root@local":                   {User: "root", Host: "local"},
		"ssh://local":                  {Host: "local"},
		"ssh://root@server1:2222":      {User: "root", Host: "server1", Port: 2222},
		"ssh://server1/":               {Host: "server1"},
		"ssh://root@[fd00::1]:22":      {User: "root", Host: "fd00::1", Port: 22},
		"ssh://[fe80::1%25eth0]:22":    {Host: "fe80::1%eth0", Port: 22},
		"root@[fd00::1]":               {User: "root", Host: "fd00::1"},
		"[fe80::1%eth0]":               {Host: "fe80::1%eth0"},
		"fd00::1":                      {Host: "fd00::1"},
		"10.0.0.5":                     {Host: "10.0.0.5"},
		"deploy.bot+ci@host_1.example": {User: "deploy.bot+ci", Host: "host_1.example"},
	} {
		got, err := ParseAddress(s)
		if err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v", s, got, err, want)
			continue
		}
		if again, err := ParseAddress(got.String()); err != nil || again != want {
			t.Errorf("%q is printed as %q, read back as %+v, %v", s, got.String(), again, err)
		}
	}
}

// An address reaches ssh's command line, where -oProxyCommand=… would run a
// program.
func TestParseAddressRefuses(t *testing.T) {
	for s, why := range map[string]string{
		"":                         "empty",
		"-oProxyCommand=touch /x":  "begins with `-`",
		"root@-oProxyCommand=x":    "begins with `-`",
		"-l@host":                  "begins with `-`",
		"@host":                    "user is empty",
		"host:22":                  "ssh://host:port",
		"root@host:22":             "ssh://host:port",
		"[::1":                     "brackets",
		"::1]":                     "not allowed",
		"[web]":                    "brackets",
		"web%eth0":                 "zone",
		"a b":                      "not allowed",
		"host;reboot":              "not allowed",
		"$(x)":                     "not allowed",
		"host\n":                   "not allowed",
		"a@b@c":                    "user name",
		"ssh://":                   "not allowed",
		"ssh://:22":                "not allowed",
		"ssh://h:0":                "out of range",
		"ssh://h:65536":            "out of range",
		"ssh://h:x":                "cannot be read",
		"ssh://u:secret@h":         "password",
		"ssh://h/path":             "only user, host and port",
		"ssh://h?x=1":              "only user, host and port",
		"ssh://-x":                 "begins with `-`",
		"ssh-ng://h":               "not allowed",
		strings.Repeat("h", 400):   "too long",
		"root@" + "h\x1b[31mred":   "not allowed",
		"ssh://%2DoProxy@h":        "user name",
		"ssh://root@%2DoProxy:22/": "",
	} {
		a, err := ParseAddress(s)
		if err == nil {
			t.Errorf("ParseAddress(%q) = %+v, want an error", s, a)
			continue
		}
		if !strings.Contains(err.Error(), why) || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("ParseAddress(%q): %q does not say %q in one line", s, err, why)
		}
	}
}

func TestDestination(t *testing.T) {
	for want, a := range map[string]Address{
		"h":      {Host: "h", Port: 22},
		"u@h":    {User: "u", Host: "h"},
		"u@::1":  {User: "u", Host: "::1"},
		"u@h.ex": {User: "u", Host: "h.ex", Port: 1},
	} {
		if got := a.Destination(); got != want {
			t.Errorf("%+v: %q, want %q", a, got, want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{
		"local", "h", "u@h", "ssh://u@h:22", "[::1]", "u@[fe80::1%e0]", "ssh://[fe80::1%25e0]:1", "-x", "ssh://local", "ssh://h:0022", "[local]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if a.Local {
			if s != "local" || (a != Address{Local: true}) {
				t.Errorf("%q became local: %+v", s, a)
			}
			return
		}
		destination := a.Destination()
		if a.Host == "" || strings.HasPrefix(a.Host, "-") || strings.HasPrefix(destination, "-") {
			t.Errorf("%q: ssh would take %q for an option", s, destination)
		}
		if strings.ContainsAny(destination, " \t\n\r'\"`$&;|<>(){}[]*?!\\#~/\x00\x1b") {
			t.Errorf("%q: %q has a character that a shell reads", s, destination)
		}
		if a.Port < 0 || a.Port > 65535 {
			t.Errorf("%q: port %d", s, a.Port)
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("%q is %+v, printed as %q, read back as %+v, %v", s, a, a.String(), again, err)
		}
	})
}
