package main

import (
	"strings"

	"ferry/internal/microvmcmd"
)

// entry is one variable or file.
type entry struct{ what, text string }

func environment() []entry {
	return []entry{
		{"NO_COLOR", "Not empty: no colours, as with `--no-color`."},
		{"NIX_SSHOPTS", "Options for every call of ssh, as Nix takes them."},
		{"XDG_CACHE_HOME", "Where evaluations are cached: `ferry` in there; `~/.cache` if it isn't set."},
		{"XDG_STATE_HOME", "Where deployments and confirmed addresses are remembered: `ferry` in there; `~/.local/state` if it isn't set."},
	}
}

func wellKnownFiles() []entry {
	return []entry{
		{"flake.nix", "VMs are its `nixosConfigurations`; hosts and addresses come from its output `ferry`."},
		{"~/.ssh/config", "How hosts and guests are reached: ferry runs ssh as you do."},
		{"~/.cache/ferry/", "Evaluations and what completion offers; can be deleted at any time."},
		{"~/.local/state/ferry/", "What `ferry attach` needs, and the addresses that you have confirmed."},
		{"/var/lib/microvms/NAME/", "On a host: the directory of a VM. `current` is what is installed, `booted` what was started, `old` what was installed before."},
		{"/nix/var/nix/profiles/ferry/NAME/", "On a host: the generations of a VM."},
		{"/nix/var/nix/gcroots/ferry/NAME/", "On a host: what keeps the garbage collector away from a deployment under way."},
		{"/var/lib/ferry/", "On a host: histories, notes of deployments under way, locks."},
	}
}

// microvmPage is made of the command's help, whose parts end with an empty line.
func microvmPage(version string) []byte {
	var r roff
	r.head("microvm", version)
	r.section("NAME")
	r.WriteString(`microvm \- create, update, run and list the MicroVMs of this host` + "\n")
	for part := range strings.SplitSeq(strings.Trim(microvmcmd.Help, "\n"), "\n\n") {
		first, rest, _ := strings.Cut(part, "\n")
		switch {
		case strings.HasPrefix(part, "Usage: "):
			r.section("SYNOPSIS")
			r.WriteString(`\fBmicrovm\fR` + escaped(strings.TrimPrefix(part, "Usage: microvm")) + "\n")
			r.section("DESCRIPTION")
		case strings.HasPrefix(part, "Exit codes:"):
			r.exitStatus(strings.TrimPrefix(part, "Exit codes:"))
		case first == "Examples:":
			r.section("EXAMPLES")
			r.verbatim(rest)
		default:
			r.text(part)
		}
	}
	r.section("SEE ALSO")
	r.WriteString(`\fBferry\fR(1), \fBferry\-host\-setup\fR(1)` + "\n")
	return []byte(r.String())
}
