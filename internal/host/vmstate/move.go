package vmstate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"ferry/internal/microvm"
)

// ForeignLinkError: a link is neither what was to be replaced nor what should be
// there: somebody else has changed it. It was left as it was found.
type ForeignLinkError struct {
	Link  string // its path
	Found string // what it names; empty: it was removed
}

func (e *ForeignLinkError) Error() string {
	if e.Found == "" {
		return e.Link + " was removed meanwhile by somebody else"
	}
	return fmt.Sprintf("somebody else has put %s in the place of %s meanwhile", e.Found, e.Link)
}

// Supersedes: something else was installed.
func (e *ForeignLinkError) Supersedes() bool { return filepath.Base(e.Link) == "current" }

// MoveLink makes a link of the VM's directory point to p, provided that it names
// one of from now, or p already; the empty path stands for no link. Tools that
// know no lock may change it at the same moment, so the new link and the one that
// is there change places, what came out is looked at, and put back if it is
// neither: then the error is a *ForeignLinkError.
func (v VM) MoveLink(name string, p microvm.StorePath, from ...microvm.StorePath) error {
	m := move{name: name, to: string(p), spare: name}
	for _, f := range from {
		m.from = append(m.from, string(f))
	}
	if _, err := os.Lstat(v.Path()); errors.Is(err, fs.ErrNotExist) && p == "" {
		return nil
	}
	return m.make(v.Path())
}

// move is the change of one link in a directory.
type move struct {
	name  string
	to    string   // what it shall name; empty: there shall be no link
	from  []string // what it may name now; empty: there may be no link
	spare string   // the entry that links may have been made for before
}

// make makes the change, and has it on disk when it returns. Where a spare link
// names what it should, nothing new is made on the file system.
func (m move) make(path string) error {
	root, err := openDir(path)
	if err != nil {
		return err
	}
	defer root.Close()
	if linkTarget(root, m.name) == m.to {
		return nil
	}
	dir, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer dir.Close()
	if m.to == "" {
		err = m.remove(root, dir)
	} else {
		err = m.replace(root, dir)
	}
	if err != nil {
		return m.explain(path, err)
	}
	return syncDir(root)
}

// replace puts a link that was made before, or a new one, in the place of the one
// that is there.
func (m move) replace(root *os.Root, dir *os.File) error {
	tmp := m.made(root)
	if tmp == "" {
		tmp = tempName(m.name)
		if err := root.Symlink(m.to, tmp); err != nil {
			return err
		}
		defer func() { _ = root.Remove(tmp) }() // by then what was there before
	}
	for {
		var err error
		if linkTarget(root, m.name) == "" {
			if !m.replaces("") {
				return &ForeignLinkError{}
			}
			if err = renameNew(dir, tmp, m.name); err == nil {
				return nil
			}
		} else if err = swapNames(dir, tmp, m.name); err == nil {
			return m.judge(root, dir, tmp)
		}
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return m.overwrite(root, tmp)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist):
			return err
		} // it has just come or gone: look again
	}
}

// judge looks at what has come out of an exchange. What is somebody else's goes
// back; if that brings out another link that is not ours, it is newer, and goes
// back in turn.
func (m move) judge(root *os.Root, dir *os.File, tmp string) error {
	out := linkTarget(root, tmp)
	if m.replaces(out) || out == m.to {
		return nil
	}
	for put := m.to; ; {
		err := swapNames(dir, tmp, m.name)
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile, so nothing is missing
			return &ForeignLinkError{Found: out}
		}
		if err != nil {
			return fmt.Errorf("putting back a link to %s: %w", out, err)
		}
		came := linkTarget(root, tmp)
		if came == put {
			return &ForeignLinkError{Found: out}
		}
		put, out = out, came
	}
}

// remove takes the link out of the way, looks at it and removes it, or puts it
// back unless there is a newer one.
func (m move) remove(root *os.Root, dir *os.File) error {
	tmp := tempName(m.name)
	err := renameNew(dir, m.name, tmp)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errors.ErrUnsupported):
		if now := linkTarget(root, m.name); !m.replaces(now) {
			return &ForeignLinkError{Found: now}
		}
		return root.Remove(m.name)
	case err != nil:
		return err
	}
	out := linkTarget(root, tmp)
	if m.replaces(out) {
		return root.Remove(tmp)
	}
	if err := renameNew(dir, tmp, m.name); errors.Is(err, fs.ErrExist) {
		_ = root.Remove(tmp)
	} else if err != nil {
		return fmt.Errorf("putting back a link to %s: %w", out, err)
	}
	return &ForeignLinkError{Found: out}
}

// overwrite is for file systems without exchanges: look, then rename.
func (m move) overwrite(root *os.Root, tmp string) error {
	if now := linkTarget(root, m.name); !m.replaces(now) && now != m.to {
		return &ForeignLinkError{Found: now}
	}
	return root.Rename(tmp, m.name)
}

func (m move) replaces(target string) bool { return slices.Contains(m.from, target) }

// made is a link that was made before and names what is wanted; empty where there
// is none. It must be this user's own: others may make entries here, too.
func (m move) made(root *os.Root) string {
	if m.spare == "" {
		return ""
	}
	for _, name := range spares(root, m.spare) {
		fi, err := root.Lstat(name)
		if err == nil && isOwn(fi) && linkTarget(root, name) == m.to {
			return name
		}
	}
	return ""
}

// isOwn: it belongs to whom this process runs as, and has no other name.
func isOwn(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && st.Nlink == 1
}

func (m move) explain(dir string, err error) error {
	if foreign := (*ForeignLinkError)(nil); errors.As(err, &foreign) {
		foreign.Link = filepath.Join(dir, m.name)
		return err
	}
	return fmt.Errorf("moving %s in %s: %w", m.name, dir, err)
}

// notALink stands for what an entry names that is not a link.
const notALink = "something that is not a link"

// linkTarget is what an entry names; empty where there is no such entry.
func linkTarget(root *os.Root, name string) string {
	target, err := root.Readlink(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil || target == "":
		return notALink
	}
	return target
}
