package updates

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// checkCache refuses store URLs that name no cache, hold a password, or would
// switch off the check of signatures.
func checkCache(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%.120q is not a URL", s)
	case !slices.Contains([]string{"http", "https", "file", "s3", "ssh-ng"}, u.Scheme):
		return fmt.Errorf("%.120q is not a binary cache; expected http, https, s3, ssh-ng or file", s)
	case u.User != nil && u.Scheme != "ssh-ng":
		return errors.New("credentials in the address would be visible to everybody; put them in Nix's netrc-file")
	case u.Host == "" && u.Scheme != "file", u.Fragment != "", strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("%.120q is not a binary cache", s)
	case strings.HasPrefix(u.Host, "-"), u.User != nil && strings.HasPrefix(u.User.Username(), "-"):
		return fmt.Errorf("%.120q begins with `-` where a name has to stand", s)
	}
	for key := range u.Query() {
		if !slices.Contains([]string{"priority", "region", "endpoint", "scheme", "profile"}, key) {
			return fmt.Errorf("the setting %.40q can't be given here", key)
		}
	}
	return nil
}

// partialError says that some VMs were not updated.
type partialError struct {
	failed []string
	done   int
	err    error // of the first
}

func (e *partialError) Error() string {
	return fmt.Sprintf("%d of %d updates failed: %s", len(e.failed), len(e.failed)+e.done, strings.Join(e.failed, ", "))
}

// SomeDone reports whether others were updated.
func (e *partialError) SomeDone() bool { return e.done > 0 }

// Unwrap gives the error of the first VM, unless others are done.
func (e *partialError) Unwrap() error {
	if e.done > 0 {
		return nil
	}
	return e.err
}
