package fetch

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
)

const maxURL = 2048 // bytes

// URLError is a URL that is not fetched.
type URLError struct {
	URL, Why, hint string
}

func (e *URLError) Error() string {
	return fmt.Sprintf("%.200q is not a URL to fetch: %s", e.URL, e.Why)
}

// Hint is what to do next.
func (e *URLError) Hint() string { return e.hint }

// CheckURL reads an absolute http or https URL without credentials or fragment.
// The error is a *URLError.
func CheckURL(s string) (*url.URL, error) {
	fail := func(why string) (*url.URL, error) { return nil, &URLError{URL: redacted(s), Why: why} }
	switch {
	case len(s) > maxURL:
		return fail("it is too long")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return fail("it has spaces or control characters")
	}
	u, err := url.Parse(s)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return fail(err.Error())
	}
	switch {
	case u.User != nil:
		return nil, &URLError{URL: redacted(s), Why: "credentials have no place in it",
			hint: "put them into the netrc file (`machine HOST login USER password PASSWORD`)"}
	case u.Scheme != "http" && u.Scheme != "https":
		return fail("it must begin with http:// or https://")
	case u.Hostname() == "":
		return fail("it names no host")
	case u.Fragment != "":
		return fail("the part after `#` never reaches a server")
	}
	return u, nil
}

// redacted hides what may be a password in a URL, also in one that can't be read.
func redacted(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if i := strings.LastIndexByte(rest, '@'); ok && i >= 0 {
		return scheme + "://…" + rest[i:]
	}
	return s
}

// Origin is scheme, host and port of a URL: `https://hydra.example.org`, with a
// port only where it is not the scheme's own.
func Origin(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" || u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + net.JoinHostPort(host, port)
}

// ParseOrigin reads an origin that a user allows, such as
// `https://cache.example.org`, and writes it as Origin does.
func ParseOrigin(s string) (string, error) {
	u, err := CheckURL(s)
	if err != nil {
		return "", err
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return "", &URLError{URL: s, Why: "an origin is only scheme, host and port"}
	}
	return Origin(u), nil
}
