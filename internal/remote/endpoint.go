package remote

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"ferry/internal/microvm"
)

// Endpoint is where the user's ssh connects to for an address: HostName and Port of
// their configuration. It fails where ssh takes another way than a plain connection.
func Endpoint(ctx context.Context, a microvm.Address) (host string, port int, err error) {
	if a.Local {
		return "", 0, fmt.Errorf("%s is this machine", a)
	}
	cfg, err := readConfig(ctx, &ssh{addr: a, words: sshOptions()})
	if err != nil {
		return "", 0, err
	}
	return cfg.endpoint(a)
}

func (c sshConfig) endpoint(a microvm.Address) (string, int, error) {
	for _, key := range []string{"proxyjump", "proxycommand"} {
		if v := c[key]; v != "" && v != "none" {
			return "", 0, fmt.Errorf("ssh reaches %s through another machine or program (%s)", a, key)
		}
	}
	host := c["hostname"]
	port, err := strconv.Atoi(c["port"])
	if err != nil || port < 1 || port > 65535 || strings.Contains(host, "%") {
		return "", 0, fmt.Errorf("ssh connects to %.80q, port %.20q, for %s", host, c["port"], a)
	}
	return host, port, nil
}
