package remote

import (
	"strings"
	"testing"

	"ferry/internal/microvm"
)

// Where ssh connects to is known only of plain connections: what a jump host reaches,
// another machine may not.
func TestEndpoint(t *testing.T) {
	for config, want := range map[string]string{
		"hostname web.example.com\nport 22":                        "web.example.com",
		"hostname 10.0.0.5\nport 2222\nproxycommand none":          "10.0.0.5",
		"hostname fd00::5\nport 22":                                "fd00::5",
		"hostname fe80::1%eth0\nport 22":                           "",
		"hostname web\nport 22\nproxyjump bastion":                 "",
		"hostname web\nport 22\nproxycommand ssh bastion -W %h:%p": "",
		"hostname web\nport 99999":                                 "",
		"hostname web":                                             "",
	} {
		host, port, err := parseConfig(strings.NewReader(config)).endpoint(microvm.Address{Host: "web"})
		if host != want || (err == nil) != (want != "") || err == nil && port == 0 {
			t.Errorf("%q: %q %d, %v", config, host, port, err)
		}
	}
	if _, _, err := Endpoint(t.Context(), microvm.Address{Local: true}); err == nil {
		t.Error("this machine has an endpoint")
	}
}
