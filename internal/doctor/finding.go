// Package doctor judges what was found out about the three machines of a deployment:
// which of it would make one fail, what else is worth knowing, and what to do about
// it. It is pure: who looks, and how, is internal/doctor/visit's.
package doctor

import (
	"fmt"
	"slices"
	"strings"

	"ferry/internal/trouble"
)

// Where is one of the machines of a deployment.
type Where string

// The machines.
const (
	Operator Where = "operator"
	Host     Where = "host"
	Guest    Where = "guest"
)

// Severity is what a finding means for a deployment.
type Severity string

// The severities. A problem makes a deployment fail; with a warning it may fail or end
// otherwise than expected; a note is worth knowing. Unknown: it could not be found out.
const (
	OK      Severity = "ok"
	Note    Severity = "note"
	Warning Severity = "warning"
	Problem Severity = "problem"
	Unknown Severity = "unknown"
)

// Finding is what came of one check.
type Finding struct {
	Where    Where    `json:"where"`
	What     string   `json:"what"`              // the check, one of Checks
	Machine  string   `json:"machine,omitempty"` // its address; empty: this one
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	Cure     string   `json:"cure,omitempty"`
	// See is the section of docs/troubleshooting.md about it, where there is one.
	See trouble.Section `json:"see,omitempty"`
}

// Check is what a finding may be about.
type Check struct {
	Where Where
	What  string
}

// Checks are all that there are, in the order in which they are made.
func Checks() []Check {
	var all []Check
	for _, c := range []struct {
		where Where
		what  []string
	}{
		{Operator, []string{"nix", "nix-store", "ssh", "helper", "cache", "space", "flake"}},
		{Host, slices.Concat(ofLogin(), []string{"root", "sessions", "helper"}, ofExamined())},
		{Guest, slices.Concat(ofLogin(), []string{"root", "answer"}, ofGuest())},
	} {
		for _, what := range c.what {
			all = append(all, Check{c.where, what})
		}
	}
	return all
}

// ofLogin are the checks of a machine that is logged in to.
func ofLogin() []string {
	return append([]string{"ssh-config", "connection", "host-key"}, ofShell()...)
}

func ofShell() []string {
	return []string{"login-shell", "login-noise", "login-endless", "login-slow"}
}

// ofExamined are those that rest on what the helper finds on a host.
func ofExamined() []string {
	return []string{"clock", "nix", "nix-daemon", "path", "trusted-user", "store-disk", "store-space", "state-disk", "state-space", "systemd", "kvm", "sshd",
		"units", "setup", "unit-stop", "settle", "users", "state-dir", "owners", "vms", "unsettled", "roots", "helpers", "failed-units", "target"}
}

// ofGuest are those that rest on what a guest says.
func ofGuest() []string {
	return []string{"name", "systemd", "nix-store", "store", "new-paths", "switch", "undecided", "failed-units", "clock"}
}

// maxText bounds what a finding says, in bytes: some of it is other machines' words.
const maxText = 2000

// sheet collects the findings of one machine.
type sheet struct {
	where   Where
	machine string
	found   []Finding
}

// add returns the finding, for what is to be said of it beyond that.
func (s *sheet) add(what string, severity Severity, cure, format string, args ...any) *Finding {
	s.found = append(s.found, Finding{Where: s.where, What: what, Machine: s.machine, Severity: severity,
		Text: short(fmt.Sprintf(format, args...)), Cure: short(cure)})
	return &s.found[len(s.found)-1]
}

func (s *sheet) ok(what, format string, args ...any) { s.add(what, OK, "", format, args...) }

func (s *sheet) unknown(what, why string) { s.add(what, Unknown, "", "not checked: %s", why) }

// Unchecked says of checks that could not be made why that is so.
func Unchecked(where Where, machine, why string, whats ...string) []Finding {
	s := sheet{where: where, machine: machine}
	for _, what := range whats {
		s.unknown(what, why)
	}
	return s.found
}

// Rest are the checks of a machine that have not been made yet, in their order.
func Rest(where Where, made []Finding) []string {
	var rest []string
	for _, c := range Checks() {
		if c.Where == where && !slices.ContainsFunc(made, func(f Finding) bool { return f.Where == where && f.What == c.What }) {
			rest = append(rest, c.What)
		}
	}
	return rest
}

// Problems are how many findings would make a deployment fail.
func Problems(found []Finding) int { return Count(found, Problem) }

func short(s string) string {
	if len(s) > maxText {
		return strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// few names the first of a list, and how many more there are.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
