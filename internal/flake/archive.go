package flake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// Archive is a flake with all its inputs in this machine's store, and how
// another machine evaluates it once it has them too, without a network.
type Archive struct {
	Ref        string              // path:/nix/store/…, for the other machine
	Expression string              // for the outputs of Ref; DecodeEvaluation reads its value
	Options    []string            // of nix eval there
	Locks      json.RawMessage     // the lock file in force, overrides included
	Sources    []microvm.StorePath // of the flake and of its inputs
	URL        string              // of the flake here, locked
	Revision   string
}

// ImpureError is an evaluation that another machine would do differently.
type ImpureError struct{}

func (ImpureError) Error() string {
	return "an impure evaluation depends on the machine that makes it, so the host can't do it instead"
}

// Hint is what to do next.
func (ImpureError) Hint() string { return "leave out --impure, or --eval-on host" }

var errFlakeMoved = errors.New("the flake keeps changing while it is read")

const maxReads = 3 // of a flake that somebody is editing

// Archive fetches the flake and its inputs, overridden ones included. Nothing is
// evaluated. Errors are those of Evaluate, or an ImpureError.
func (e *Evaluator) Archive(ctx context.Context, src Source, name microvm.Name) (*Archive, error) {
	if _, err := microvm.ParseName(string(name)); err != nil {
		return nil, err // it goes into a Nix expression
	}
	ref, err := src.checkedRef()
	if err != nil {
		return nil, err
	}
	if impure(src.Options) {
		return nil, ImpureError{}
	}
	for range maxReads {
		facts, err := e.look(ctx, e.Nix, src, ref)
		if err != nil {
			return nil, err
		}
		tree, err := e.Nix.FlakeArchive(ctx, ref, src.Options)
		if err != nil {
			return nil, readable(ref, nil, err)
		}
		if facts.metadata.Path == string(tree.Path) {
			return archive(&facts.metadata, tree, src.Options, name)
		}
	}
	return nil, fmt.Errorf("copying flake %s: %w", ref, errFlakeMoved)
}

func archive(m *nix.Metadata, tree nix.ArchiveTree, options []string, name microvm.Name) (*Archive, error) {
	ref, err := storeRef(m.Locked, tree.Path)
	if err != nil {
		return nil, fmt.Errorf("reading the flake's metadata: %w", err)
	}
	a := &Archive{
		Ref: ref, Expression: expressionFor(name), Locks: m.Locks, Sources: tree.Paths(),
		URL: m.URL, Revision: m.Revision(),
	}
	a.Options, err = optionsThere(m.Locks, tree, options)
	return a, err
}

// sourceAttrs are the attributes of a locked reference that a flake can see, so
// that it evaluates to the same wherever its source lies.
type sourceAttrs struct {
	LastModified int64  `json:"lastModified"`
	NarHash      string `json:"narHash"`
	Rev          string `json:"rev"`
	RevCount     int64  `json:"revCount"`
	Dir          string `json:"dir"`
}

// storeRef is a source in the store as a flake reference that says what its
// original says of itself (Nix manual, "nix flake": path references take
// lastModified, narHash, rev and revCount).
func storeRef(locked json.RawMessage, source microvm.StorePath) (string, error) {
	var a sourceAttrs
	if err := json.Unmarshal(locked, &a); err != nil {
		return "", err
	}
	v := url.Values{}
	set := func(key, value string) {
		if value != "" && value != "0" {
			v.Set(key, value)
		}
	}
	set("lastModified", strconv.FormatInt(a.LastModified, 10))
	set("narHash", a.NarHash)
	set("rev", a.Rev)
	set("revCount", strconv.FormatInt(a.RevCount, 10))
	set("dir", a.Dir)
	ref := "path:" + string(source)
	if query := v.Encode(); query != "" {
		ref += "?" + strings.ReplaceAll(query, "+", "%20") // a plus sign means itself to Nix
	}
	return ref, nil
}

// optionsThere are the options that make the other machine evaluate the same.
// What is only about finding and locking inputs has been done here.
func optionsThere(locks json.RawMessage, tree nix.ArchiveTree, options []string) ([]string, error) {
	var there []string
	for i := 0; i < len(options); i++ {
		switch options[i] {
		case "--accept-flake-config", "--show-trace":
			there = append(there, options[i])
		case "--extra-experimental-features":
			there = append(there, options[i:min(i+2, len(options))]...)
			i++
		case "--option":
			there = append(there, options[i:min(i+3, len(options))]...)
			i += 2
		case "--override-input":
			if i+2 >= len(options) {
				return nil, errors.New("--override-input needs two values")
			}
			ref, err := overrideThere(locks, tree, options[i+1])
			if err != nil {
				return nil, err
			}
			if ref != "" {
				there = append(there, "--override-input", options[i+1], ref)
			}
			i += 2
		}
	}
	return there, nil
}

// overrideThere is the source of an overridden input for the other machine;
// empty where the flake has no such input, of which Nix has warned here.
func overrideThere(locks json.RawMessage, tree nix.ArchiveTree, input string) (string, error) {
	names := strings.Split(input, "/")
	source, ok := tree.At(names)
	if !ok {
		return "", nil
	}
	locked, err := lockedAt(locks, names)
	if err != nil {
		return "", fmt.Errorf("reading the lock of input %s: %w", input, err)
	}
	return storeRef(locked, source)
}

// lockedAt is the locked reference of the input at a path of names.
func lockedAt(locks json.RawMessage, names []string) (json.RawMessage, error) {
	var file struct {
		Root  string `json:"root"`
		Nodes map[string]struct {
			Inputs map[string]json.RawMessage `json:"inputs"`
			Locked json.RawMessage            `json:"locked"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(locks, &file); err != nil {
		return nil, err
	}
	at := file.Root
	for _, name := range names {
		var next string // an input that follows another one is a list instead
		if err := json.Unmarshal(file.Nodes[at].Inputs[name], &next); err != nil {
			return nil, fmt.Errorf("%q is not an input of its own", name)
		}
		at = next
	}
	locked := file.Nodes[at].Locked
	if len(locked) == 0 {
		return nil, errors.New("it is not locked")
	}
	return locked, nil
}
