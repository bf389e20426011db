//go:build lab

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/lab"
)

// state is a VM as its host and its guest show it.
type state struct {
	// What a deployment changes, and an undo brings back.
	current, old, booted, flake, generation, running string
	generations, links                               []string

	active, invocation string
	left               []string // what no deployment may leave behind
	units              []string // of ferry
	broken             []string // paths that should be there and kept, and are not
	history            []hostapi.HistoryEntry
	torn               int // lines of the history that can't be read

	system, profile string // of the guest, where it can be asked
	guestUnits      []string
}

//go:embed look.sh
var lookScript string

// look asks the host and, where there is one, the guest.
func (s *subject) look(ctx context.Context) (*state, error) {
	st := &state{}
	if err := s.lookInside(ctx, st); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err := s.host.Run(ctx, lab.Cmd{
		Args: []string{"sh", "-s", s.name, st.system}, Stdin: strings.NewReader(lookScript), Stdout: &out,
	})
	if err != nil {
		return nil, fmt.Errorf("looking at %s: %w", s.name, err)
	}
	for line := range strings.Lines(out.String()) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if err := st.set(key, value); err != nil {
			return nil, err
		}
	}
	return st, nil
}

func (st *state) set(key, value string) error {
	one := map[string]*string{
		"current": &st.current, "old": &st.old, "booted": &st.booted, "flake": &st.flake, "generation": &st.generation,
		"running": &st.running, "active": &st.active, "invocation": &st.invocation,
	}
	many := map[string]*[]string{"generations": &st.generations, "links": &st.links, "left": &st.left, "unit": &st.units}
	switch {
	case one[key] != nil:
		*one[key] = value
	case many[key] != nil:
		*many[key] = append(*many[key], value)
	case key == "invalid":
		st.broken = append(st.broken, value+" is not valid")
	case key == "unrooted":
		st.broken = append(st.broken, value+" is not rooted")
	case key == "history":
		var e hostapi.HistoryEntry
		if json.Unmarshal([]byte(value), &e) != nil {
			st.torn++
			return nil
		}
		st.history = append(st.history, e)
	default:
		return fmt.Errorf("the host said %s=%s", key, value)
	}
	return nil
}

// differences names what is not as in want. rebooted: the VM has been started
// since, so that it runs what is current.
func (st *state) differences(want *state, rebooted bool) []string {
	var diff []string
	compare := func(what, got, want string) {
		if got != want {
			diff = append(diff, fmt.Sprintf("%s is %s instead of %s", what, orNone(got), orNone(want)))
		}
	}
	compare("current", st.current, want.current)
	compare("old", st.old, want.old)
	compare("flake", st.flake, want.flake)
	compare("the generation", st.generation, want.generation)
	compare("the list of generations", strings.Join(st.generations, ", "), strings.Join(want.generations, ", "))
	compare("the roots", strings.Join(st.links, ", "), strings.Join(want.links, ", "))
	if rebooted {
		compare("booted", st.booted, st.current)
	} else {
		compare("booted", st.booted, want.booted)
		compare("the running system's root", st.running, want.running)
		compare("the guest's profile", st.profile, want.profile)
	}
	compare("the guest's system", st.system, want.system)
	return diff
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// entries are those of the history that were not there before.
func (st *state) entries(before *state) []hostapi.HistoryEntry {
	return slices.Clone(st.history[min(len(before.history), len(st.history)):])
}
