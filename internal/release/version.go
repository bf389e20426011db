package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// version is what a release is called.
type version struct {
	tag    string    // what ferry says of itself; empty: no release
	number string    // 1.2.0, 1.2.0~rc.1, 0~git20261124124418.3146ebc8d6af: Debian's, and sorts as Debian sorts
	time   time.Time // of the commit; files of packages are of that time
	commit string    // empty: the source is not in version control
}

// file is the version in names of files, which browsers and shells take as it is.
func (v version) file() string { return strings.ReplaceAll(v.number, "~", "-") }

// tagPattern has no - behind the first: it would part Debian's revision off.
var tagPattern = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?$`)

// checkTag refuses what is not the tag of a release.
func checkTag(tag string) error {
	if !tagPattern.MatchString(tag) {
		return fmt.Errorf("%q is not a version: releases are called v1.2.0, or v1.2.0-rc.1 before that", tag)
	}
	return nil
}

// commit is what version control says of the source.
type commit struct {
	tag, nearest string // nearest: of an ancestor
	hash         string // all of it; empty: the source is not in version control
	time         time.Time
	dirty        bool // there are changes on top of it
}

const (
	shortHash  = 12               // letters, as `ferry version` shows
	timeLayout = "20060102150405" // several commits of a day sort
)

// name finds what a build of the commit is called. What lies between two releases
// sorts between them.
func (c commit) name() version {
	v := version{tag: c.tag, time: c.time, commit: c.hash}
	base := c.tag
	if base == "" {
		base = c.nearest
	}
	v.number = strings.Replace(strings.TrimPrefix(base, "v"), "-", "~", 1)
	if c.tag == "" {
		after := "~"
		if v.number != "" {
			after = "+"
		} else {
			v.number = "0"
		}
		v.number += after + "git" + c.time.UTC().Format(timeLayout) + "." + c.hash[:min(len(c.hash), shortHash)]
	}
	if c.dirty {
		v.number += "-dirty"
	}
	return v
}

// identify names the source in dir. tag is that of the release; empty: the one that
// the commit has, if any.
func identify(ctx context.Context, dir, tag string) (version, error) {
	if tag != "" {
		if err := checkTag(tag); err != nil {
			return version{}, err
		}
	}
	c, err := look(ctx, dir)
	if err != nil {
		return version{}, err
	}
	if tag != "" {
		c.tag = tag
	}
	epoch, ok := os.LookupEnv("SOURCE_DATE_EPOCH") // reproducible-builds.org/specs/source-date-epoch
	if ok {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil || seconds < 0 {
			return version{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q, not a number of seconds", epoch)
		}
		c.time = time.Unix(seconds, 0)
	}
	if c.hash == "" && (c.tag == "" || !ok) {
		return version{}, errors.New("the source is not in a Git repository: name the release (VERSION) and its time (SOURCE_DATE_EPOCH)")
	}
	return c.name(), nil
}

// look asks Git, if the source is in a repository.
func look(ctx context.Context, dir string) (commit, error) {
	head, err := git(ctx, dir, "show", "--no-patch", "--no-show-signature", "--format=%H %ct", "HEAD")
	if err != nil {
		if _, serr := os.Lstat(dir + "/.git"); serr != nil {
			return commit{}, nil
		}
		return commit{}, err
	}
	var c commit
	var seconds int64
	if _, err := fmt.Sscan(head, &c.hash, &seconds); err != nil {
		return c, fmt.Errorf("reading the commit %q: %w", head, err)
	}
	c.time = time.Unix(seconds, 0)
	changes, err := git(ctx, dir, "status", "--porcelain", "--untracked-files=normal")
	if err != nil {
		return c, err
	}
	c.dirty = changes != ""
	// Both fail where there is no such tag.
	c.tag, _ = git(ctx, dir, "describe", "--tags", "--match", "v[0-9]*", "--exact-match", "HEAD")
	c.nearest, _ = git(ctx, dir, "describe", "--tags", "--match", "v[0-9]*", "--abbrev=0", "HEAD")
	for _, tag := range []*string{&c.tag, &c.nearest} {
		if checkTag(*tag) != nil {
			*tag = ""
		}
	}
	return c, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := output(ctx, dir, nil, append([]string{"git"}, args...)...)
	return strings.TrimSpace(out), err
}
