package flakeupdate

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxDepth  = 16   // of inputs of inputs
	maxInputs = 5000 // in one lock file, all depths together
)

// Locked is what an input is locked to.
type Locked struct {
	Source string `json:"source,omitempty"` // github:NixOS/nixpkgs, without the revision
	Rev    string `json:"rev,omitempty"`
	Hash   string `json:"hash,omitempty"` // narHash
	Date   string `json:"date,omitempty"` // of the revision: YYYY-MM-DD, UTC
}

// Change is an input that moved, came or went.
type Change struct {
	Input string  `json:"input"` // with the names of the inputs it is in: a/b
	From  *Locked `json:"from,omitempty"`
	To    *Locked `json:"to,omitempty"`
}

// lockFile is a flake.lock (Nix manual, "nix flake": lock files).
type lockFile struct {
	Nodes map[string]lockNode `json:"nodes"`
	Root  string              `json:"root"`
}

type lockNode struct {
	// Inputs are the key of a node, or the path of another input that is
	// followed.
	Inputs map[string]json.RawMessage `json:"inputs"`
	Locked *lockedNode                `json:"locked"`
}

type lockedNode struct {
	Type, Owner, Repo, URL, Path, ID, Ref, Rev, NarHash string
	LastModified                                        int64
}

// parseLock reads a lock file's inputs by their paths. An absent file has none.
// An input that follows another one has a nil value.
func parseLock(content string) (map[string]*Locked, error) {
	inputs := map[string]*Locked{}
	if content == "" {
		return inputs, nil
	}
	var file lockFile
	if err := json.Unmarshal([]byte(content), &file); err != nil {
		return nil, fmt.Errorf("reading flake.lock: %w", err)
	}
	if _, ok := file.Nodes[file.Root]; !ok {
		return nil, fmt.Errorf("reading flake.lock: it has no node %.40q", file.Root)
	}
	return inputs, file.walk(file.Root, "", 0, inputs)
}

func (f *lockFile) walk(node, prefix string, depth int, into map[string]*Locked) error {
	if depth > maxDepth || len(into) > maxInputs {
		return fmt.Errorf("reading flake.lock: it has more inputs than can be, at %.80q", prefix)
	}
	for name, raw := range f.Nodes[node].Inputs {
		var key string
		if json.Unmarshal(raw, &key) != nil {
			into[prefix+name] = nil // it follows another one
			continue
		}
		n, ok := f.Nodes[key]
		if !ok {
			return fmt.Errorf("reading flake.lock: it has no node %.40q", key)
		}
		into[prefix+name] = n.locked()
		if err := f.walk(key, prefix+name+"/", depth+1, into); err != nil {
			return err
		}
	}
	return nil
}

func (n lockNode) locked() *Locked {
	if n.Locked == nil {
		return &Locked{}
	}
	l := &Locked{Source: n.Locked.source(), Rev: n.Locked.Rev, Hash: n.Locked.NarHash}
	if n.Locked.LastModified > 0 {
		l.Date = time.Unix(n.Locked.LastModified, 0).UTC().Format(time.DateOnly)
	}
	return l
}

func (n *lockedNode) source() string {
	switch {
	case n.Owner != "":
		return n.Type + ":" + n.Owner + "/" + n.Repo
	case n.URL != "" && n.Type == "git":
		return "git+" + withoutLogin(n.URL)
	case n.URL != "":
		return withoutLogin(n.URL)
	case n.Path != "":
		return n.Type + ":" + n.Path
	}
	return n.Type + ":" + n.ID
}

// withoutLogin leaves out what may be a token.
func withoutLogin(s string) string {
	if u, err := url.Parse(s); err == nil && u.User != nil && u.Scheme != "ssh" {
		u.User = nil
		return u.String()
	}
	return s
}

// changes compares two lock files, in the order of the inputs' names.
func changes(before, after map[string]*Locked) []Change {
	var found []Change
	for name, to := range after {
		from := before[name]
		if to != nil && (from == nil || *from != *to) {
			found = append(found, Change{Input: name, From: from, To: to})
		}
	}
	for name, from := range before {
		if from != nil && after[name] == nil {
			found = append(found, Change{Input: name, From: from})
		}
	}
	slices.SortFunc(found, func(a, b Change) int { return strings.Compare(a.Input, b.Input) })
	return found
}

// String is one line: `nixpkgs: 2026-01-01 4ec1f3a → 2026-01-08 9a1b2c3`.
func (c Change) String() string {
	switch {
	case c.From == nil:
		return c.Input + ": added, " + c.To.short(true)
	case c.To == nil:
		return c.Input + ": removed, was " + c.From.short(false)
	}
	moved := c.From.Source != c.To.Source
	return c.Input + ": " + c.From.short(moved) + " → " + c.To.short(moved)
}

func (l *Locked) short(source bool) string {
	var words []string
	if l.Date != "" {
		words = append(words, l.Date)
	}
	if source {
		words = append(words, l.Source)
	}
	switch {
	case l.Rev != "":
		words = append(words, l.Rev[:min(len(l.Rev), 10)])
	case l.Hash != "":
		words = append(words, l.Hash[:min(len(l.Hash), 20)])
	}
	return strings.Join(words, " ")
}
