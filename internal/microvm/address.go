package microvm

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Address says how to reach a machine: this very machine (Local) or an SSH
// destination, which may be an alias of the user's ssh_config.
type Address struct {
	Local bool
	User  string // empty: ssh_config or ssh decides
	Host  string // host name, alias or IP address, an IPv6 address without brackets
	Port  int    // 0: ssh_config or ssh decides
}

var (
	userPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.%:-]*$`)
)

// ParseAddress reads `[user@]host`, an ssh_config alias, `ssh://[user@]host[:port]`
// or `local`. What ssh could take for an option, or a shell for more than a
// word, is refused.
func ParseAddress(s string) (Address, error) {
	a, err := parseAddress(s)
	if err != nil {
		return Address{}, fmt.Errorf("%.80q is not a valid address: %w (expected [user@]host, ssh://[user@]host[:port] or local)", s, err)
	}
	return a, nil
}

// parseAddress fails with the bare reason, which others put into their own words.
func parseAddress(s string) (Address, error) {
	fail := func(why string) (Address, error) { return Address{}, errors.New(why) }
	switch {
	case s == "":
		return fail("it is empty")
	case len(s) > 320:
		return fail("it is too long")
	case strings.HasPrefix(s, "-"):
		return fail("it begins with `-`")
	case s == "local":
		return Address{Local: true}, nil
	}
	var a Address
	if strings.HasPrefix(s, "ssh://") {
		u, err := url.Parse(s)
		if err != nil {
			return fail("the URL cannot be read")
		}
		if u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
			return fail("only user, host and port may stand in the URL")
		}
		if _, has := u.User.Password(); has {
			return fail("a password has no place in an address")
		}
		a.User, a.Host = u.User.Username(), u.Hostname()
		if p := u.Port(); p != "" {
			if a.Port, err = strconv.Atoi(p); err != nil || a.Port < 1 || a.Port > 65535 {
				return fail("the port is out of range")
			}
		}
	} else {
		a.Host = s
		if i := strings.LastIndex(s, "@"); i >= 0 {
			a.User, a.Host = s[:i], s[i+1:]
			if a.User == "" {
				return fail("the user is empty")
			}
		}
		if h, ok := strings.CutPrefix(a.Host, "["); ok {
			if a.Host, ok = strings.CutSuffix(h, "]"); !ok || !strings.Contains(h, ":") {
				return fail("brackets are for IPv6 addresses")
			}
		}
	}
	if a.User != "" && !userPattern.MatchString(a.User) {
		return fail("the user name has characters that are not allowed")
	}
	if !hostPattern.MatchString(a.Host) {
		return fail("the host name is missing, begins with `-` or has characters that are not allowed")
	}
	if strings.Contains(a.Host, ":") && net.ParseIP(strings.SplitN(a.Host, "%", 2)[0]) == nil {
		return fail("a port needs the form ssh://host:port")
	}
	if strings.Contains(a.Host, "%") && !strings.Contains(a.Host, ":") {
		return fail("`%` is only allowed before the zone of an IPv6 address")
	}
	return a, nil
}

// Destination is the argument for ssh, without the port: `user@host`.
func (a Address) Destination() string {
	if a.User == "" {
		return a.Host
	}
	return a.User + "@" + a.Host
}

// String is a form that ParseAddress reads back.
func (a Address) String() string {
	switch {
	case a.Local:
		return "local"
	case a.Host == "local" && a.User == "" && a.Port == 0:
		return "ssh://local" // a host of that name, not this machine
	case a.Port != 0:
		// In a URL the `%` of an IPv6 zone is escaped (RFC 6874).
		host := net.JoinHostPort(strings.ReplaceAll(a.Host, "%", "%25"), strconv.Itoa(a.Port))
		if a.User != "" {
			host = a.User + "@" + host
		}
		return "ssh://" + host
	case strings.Contains(a.Host, ":"):
		if a.User == "" {
			return "[" + a.Host + "]"
		}
		return a.User + "@[" + a.Host + "]"
	}
	return a.Destination()
}
