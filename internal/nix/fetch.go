package nix

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferry/internal/microvm"
)

// FetchRequest is a download of a store path with all that it refers to.
type FetchRequest struct {
	Cache string // a store URL; empty: the substituters of this machine's nix.conf
	Path  microvm.StorePath
	// Stall is how long a download may stand still before it is given up.
	Stall time.Duration
}

// FetchKind says why a download failed.
type FetchKind int

// The kinds. Unknown: see the error itself.
const (
	FetchUnknown     FetchKind = iota
	FetchUnsigned              // no signature by a key that this machine trusts
	FetchMissing               // the cache has no such path
	FetchUnreachable           // the cache does not answer
	FetchStalled               // the cache has stopped sending
)

// FetchError is a download that failed. Nothing that can't be trusted has come
// into the store.
type FetchError struct {
	Kind FetchKind
	Path microvm.StorePath // the path that failed: the one asked for, or one that it refers to
	Err  error
}

func (e *FetchError) Error() string { return e.Err.Error() }

// Unwrap gives what Nix says.
func (e *FetchError) Unwrap() error { return e.Err }

// downloads are the options of a download: what the cache said a moment ago may
// be different now, a connection that stands still must end, and signatures are
// asked for whatever the machine's configuration says.
func (r FetchRequest) options() []string {
	stall := max(1, int(r.Stall.Seconds()))
	return []string{
		"--option", "narinfo-cache-negative-ttl", "0", "--option", "narinfo-cache-positive-ttl", "0",
		"--option", "stalled-download-timeout", strconv.Itoa(stall),
		"--option", "connect-timeout", strconv.Itoa(min(stall, 15)),
		"--option", "download-attempts", "3", "--option", "require-sigs", "true",
	}
}

// Fetch downloads the path into this machine's store, whose trusted-public-keys
// decide whether it may come in. Failures are a *FetchError.
func (n *Nix) Fetch(ctx context.Context, r FetchRequest) error {
	c := command{program: "nix", args: nixArgs(append([]string{"copy", "--from", r.Cache}, r.options()...)...)}
	if r.Cache == "" {
		c = command{program: "nix", args: nixArgs(append([]string{"build", "--no-link", "--max-jobs", "0"}, r.options()...)...)}
	}
	c.args = append(c.args, string(r.Path))
	_, stderr, err := n.run(ctx, c)
	if err == nil || ctx.Err() != nil {
		return err
	}
	kind, path := fetchFailure(stderr, r.Path)
	return &FetchError{Kind: kind, Path: path, Err: err}
}

// What Nix says, from 2.8 to 2.34, of the kinds of failure; the first that is
// found counts.
var fetchFailures = []struct {
	kind    FetchKind
	pattern *regexp.Regexp
}{
	{FetchUnsigned, regexp.MustCompile(`lacks a (valid )?signature by a trusted key|does not have a valid signature|not signed by any of the keys`)},
	{FetchStalled, regexp.MustCompile(`HTTP error 20[06] \(curl error: Timeout was reached|Operation too slow|transferred the last \d+ seconds`)},
	{FetchUnreachable, regexp.MustCompile(`[Uu]nable to (download|check if) .*((C|c)ould ?n[o']t (resolve|connect)|Timeout was reached|Connection refused|Failed to connect|HTTP error 5|No route)|[Cc]ould ?n[o']t (resolve host|connect to server)|cannot open connection to remote store`)},
	{FetchMissing, regexp.MustCompile(`is not valid|does not exist in (the )?(binary cache|store)|no substituter that can build it|don't know how to build these paths|[Cc]annot build`)},
}

var fetchedPath = regexp.MustCompile(`/nix/store/[0-9a-z]{32}-[0-9A-Za-z+?=._-]+`)

// fetchFailure reads why a download failed, and of which path.
func fetchFailure(stderr []string, asked microvm.StorePath) (FetchKind, microvm.StorePath) {
	for _, f := range fetchFailures {
		for _, line := range stderr {
			if !f.pattern.MatchString(line) {
				continue
			}
			if p, err := microvm.ParseStorePath(fetchedPath.FindString(line)); err == nil {
				return f.kind, p
			}
			return f.kind, asked
		}
	}
	return FetchUnknown, asked
}

var signature = regexp.MustCompile(`^([^\s:]+):[A-Za-z0-9+/]{80,}=*$`)

// Signers are the names of the keys that a cache's description of a path is
// signed with; whether the signatures are right is not looked at.
func (n *Nix) Signers(ctx context.Context, cache string, p microvm.StorePath) ([]string, error) {
	args := nixArgs("path-info", "--store", cache, "--sigs", "--option", "narinfo-cache-positive-ttl", "0", string(p))
	out, _, err := n.run(ctx, command{program: "nix", args: args})
	if err != nil {
		return nil, err
	}
	return keyNames(string(out)), nil
}

// TrustedKeys are the names of the keys that this machine's Nix trusts.
func (n *Nix) TrustedKeys(ctx context.Context) ([]string, error) {
	words, err := n.setting(ctx, "trusted-public-keys")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, word := range words {
		if name, _, ok := strings.Cut(word, ":"); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// TrustedUsers are those whom this machine's Nix lets do as root does: names, groups
// behind an @, or * for everybody.
func (n *Nix) TrustedUsers(ctx context.Context) ([]string, error) {
	return n.setting(ctx, "trusted-users")
}

// setting is what this machine's Nix has for a setting that is a list.
func (n *Nix) setting(ctx context.Context, name string) ([]string, error) {
	out, _, err := n.run(ctx, command{program: "nix", args: nixArgs("config", "show", name)})
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out)), nil
}

func keyNames(said string) []string {
	var names []string
	for word := range strings.FieldsSeq(said) {
		if m := signature.FindStringSubmatch(word); m != nil && !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

// Push copies a path with all that it refers to from this machine's store to
// another one, which checks the signatures.
func (n *Nix) Push(ctx context.Context, to string, env []string, p microvm.StorePath) error {
	_, stderr, err := n.run(ctx, command{program: "nix", args: nixArgs("copy", "--to", to, string(p)), env: env})
	if err == nil || ctx.Err() != nil {
		return err
	}
	if kind, path := fetchFailure(stderr, p); kind == FetchUnsigned {
		return &FetchError{Kind: kind, Path: path, Err: err}
	}
	return err
}

// Unsigned reports whether err says that a path lacks a signature that counts,
// and of which path.
func Unsigned(err error) (microvm.StorePath, bool) {
	var f *FetchError
	if errors.As(err, &f) && f.Kind == FetchUnsigned {
		return f.Path, true
	}
	return "", false
}

// DescribeSigners says which key would be needed for a path that was refused.
func DescribeSigners(p microvm.StorePath, signers, trusted []string) string {
	switch {
	case len(signers) == 0:
		return fmt.Sprintf("%s has no signature at all", p)
	case slices.ContainsFunc(signers, func(s string) bool { return slices.Contains(trusted, s) }):
		return fmt.Sprintf("the signature of %s by %s is wrong: it was not made with the key of that name that is trusted", p, strings.Join(signers, ", "))
	}
	return fmt.Sprintf("%s is signed by %s, which is not trusted", p, strings.Join(signers, ", "))
}
