package flake

import (
	"cmp"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// SameRef reports whether two flake references name the same flake at the same
// branch, however they are written: `github:o/r/main` and
// `git+https://github.com/o/r.git?ref=refs/heads/main` do. A reference without a
// branch is the same only as another one without: which branch it means, only
// its server knows. References that can't be read are the same as none.
func SameRef(a, b string) bool {
	x, ok := parseRef(a)
	y, ok2 := parseRef(b)
	return ok && ok2 && x == y
}

// ref is what a flake reference means, in one spelling.
type ref struct {
	scheme   string
	location string // host and path
	branch   string // empty: the server's own choice
	rev      string
	dir      string // of the flake in its repository
	rest     string // other parameters that change the content
}

var revPattern = regexp.MustCompile(`^[0-9a-f]{40}$|^[0-9a-f]{64}$`)

// parseRef knows the forms of the Nix manual, "nix flake": flake reference
// types.
func parseRef(s string) (ref, bool) {
	if unfitForArgument(s) != "" {
		return ref{}, false
	}
	location, query, _ := strings.Cut(s, "?")
	r := ref{}
	if !r.parameters(query) {
		return ref{}, false
	}
	scheme, location, ok := splitScheme(location)
	switch {
	case !ok:
		return ref{}, false
	case slices.Contains(forgeSchemes(), scheme):
		ok = r.forge(scheme, location)
	case slices.Contains(remoteSchemes(), scheme):
		ok = r.url(scheme, location)
	case slices.Contains(fileSchemes(), scheme) || scheme == "path":
		r.scheme, r.location = scheme, path.Clean(strings.TrimPrefix(location, "//"))
		ok = location != ""
	case scheme == "flake":
		ok = r.registry(location)
	default:
		ok = false
	}
	return r, ok
}

// splitScheme separates the scheme; a reference without one is a path or a name
// of the registry.
func splitScheme(s string) (scheme, location string, ok bool) {
	if m := schemePattern.FindStringSubmatch(s); m != nil {
		return strings.ToLower(m[1]), m[2], true
	}
	switch {
	case s == "":
		return "", "", false
	case strings.HasPrefix(s, "/"):
		return "path", s, true // what Nix makes of it depends on what is there
	case strings.HasPrefix(s, "."):
		return "", "", false // depends on where one stands
	}
	return "flake", s, true
}

// parameters reads what follows `?`. In contrast to a form's, its `+` stands for
// itself.
func (r *ref) parameters(query string) bool {
	values, err := url.ParseQuery(strings.ReplaceAll(query, "+", "%2B"))
	if err != nil {
		return false
	}
	for name, given := range values {
		if len(given) != 1 {
			return false
		}
		switch name {
		case "ref":
			r.branch = branch(given[0])
		case "rev":
			r.rev = given[0]
		case "dir":
			if r.dir = path.Clean("/" + given[0]); r.dir == "/" {
				r.dir = ""
			}
		case "shallow", "allRefs", "narHash", "lastModified", "revCount":
			values.Del(name) // how it is fetched, or what is known of it
		}
	}
	for _, name := range []string{"ref", "rev", "dir"} {
		values.Del(name)
	}
	r.rest = values.Encode() // sorted
	return true
}

func branch(s string) string {
	if s == "HEAD" {
		return ""
	}
	return strings.TrimPrefix(s, "refs/heads/")
}

// forge reads OWNER/REPO[/REF-OR-REV].
func (r *ref) forge(scheme, location string) bool {
	parts := strings.SplitN(strings.Trim(location, "/"), "/", 3)
	for i, p := range parts {
		decoded, err := url.PathUnescape(p)
		if err != nil || decoded == "" {
			return false
		}
		parts[i] = decoded
	}
	if len(parts) < 2 {
		return false
	}
	if len(parts) == 3 && !r.refOrRev(parts[2]) {
		return false
	}
	r.scheme, r.location = scheme, parts[0]+"/"+strings.TrimSuffix(parts[1], ".git")
	if scheme != "sourcehut" {
		r.location = strings.ToLower(r.location) // as these servers take it
	}
	return true
}

func (r *ref) refOrRev(s string) bool {
	if revPattern.MatchString(s) {
		ok := r.rev == "" || r.rev == s
		r.rev = s
		return ok
	}
	ok := r.branch == "" || r.branch == branch(s)
	r.branch = branch(s)
	return ok
}

// registry reads NAME[/REF][/REV].
func (r *ref) registry(location string) bool {
	parts := strings.Split(strings.Trim(location, "/"), "/")
	if parts[0] == "" || len(parts) > 3 {
		return false
	}
	for _, p := range parts[1:] {
		if !r.refOrRev(p) {
			return false
		}
	}
	r.scheme, r.location = "flake", parts[0]
	return true
}

// forgeOf is the scheme of the well-known forges.
func forgeOf(host string) string {
	switch host {
	case "github.com":
		return "github"
	case "gitlab.com":
		return "gitlab"
	case "git.sr.ht":
		return "sourcehut"
	}
	return ""
}

func (r *ref) url(scheme, location string) bool {
	u, err := url.Parse(scheme + ":" + location)
	if err != nil || u.Hostname() == "" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	where := strings.TrimSuffix(path.Clean("/"+u.Path), "/")
	if strings.HasPrefix(scheme, "git") {
		where = strings.TrimSuffix(where, ".git")
		if forge := forgeOf(host); forge != "" && (u.Port() == "" || u.Port() == defaultPort(scheme)) {
			// The rest of the path could be a branch only in the forge's own form.
			owner, repo := path.Split(strings.TrimPrefix(where, "/"))
			return strings.Trim(owner, "/") != "" && r.forge(forge, url.PathEscape(strings.Trim(owner, "/"))+"/"+url.PathEscape(repo))
		}
	}
	port := cmp.Or(u.Port(), defaultPort(scheme))
	// Whoever logs in by HTTP gets the same; over SSH the path may depend on it.
	user := ""
	if strings.HasSuffix(scheme, "+ssh") && u.User != nil {
		user = u.User.Username() + "@"
	}
	r.scheme = strings.TrimPrefix(scheme, "tarball+")
	r.location = user + host + ":" + port + where
	return true
}

func defaultPort(scheme string) string {
	switch scheme[strings.LastIndexByte(scheme, '+')+1:] {
	case "http":
		return "80"
	case "https":
		return "443"
	case "ssh":
		return "22"
	case "git":
		return "9418"
	}
	return ""
}
