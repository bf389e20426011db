package plan

import (
	"fmt"
	"strconv"
	"strings"

	"ferry/internal/microvm"
)

// RecordChanges names what differs in hardware between two records, in words
// such as `memory 512 → 768 MiB`. Nil where one record is missing or they agree
// in all that a record knows.
func RecordChanges(from, to *microvm.Record) []string {
	if from == nil || to == nil {
		return nil
	}
	var out []string
	number := func(what string, a, b *int, unit string) {
		if s, t := show(a), show(b); s != t {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s → %s %s", what, s, t, unit)))
		}
	}
	text := func(what, a, b string) {
		if a != b {
			out = append(out, fmt.Sprintf("%s %s → %s", what, orNone(a), orNone(b)))
		}
	}
	text("hypervisor", from.Hypervisor, to.Hypervisor)
	number("memory", from.Mem, to.Mem, "MiB")
	number("vcpu", from.VCPU, to.VCPU, "")
	out = append(out, listChanges("volume", volumes(from), volumes(to))...)
	out = append(out, listChanges("share", shares(from), shares(to))...)
	out = append(out, listChanges("interface", interfaces(from), interfaces(to))...)
	number("vsock cid", from.VsockCID, to.VsockCID, "")
	text("kernel", microvm.SystemBaseName(from.Kernel), microvm.SystemBaseName(to.Kernel))
	if from.Kernel != to.Kernel && microvm.SystemBaseName(from.Kernel) == microvm.SystemBaseName(to.Kernel) {
		out = append(out, "kernel rebuilt ("+microvm.SystemBaseName(to.Kernel)+")")
	}
	if from.Initrd != to.Initrd {
		out = append(out, "initrd rebuilt")
	}
	return out
}

func show(n *int) string {
	if n == nil {
		return "none"
	}
	return strconv.Itoa(*n)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func volumes(r *microvm.Record) map[string]string {
	m := map[string]string{}
	for _, v := range r.Volumes {
		m[v.Image] = fmt.Sprintf("%s MiB at %s", show(v.Size), orNone(v.MountPoint))
	}
	return m
}

func shares(r *microvm.Record) map[string]string {
	m := map[string]string{}
	for _, s := range r.Shares {
		m[s.Tag] = fmt.Sprintf("%s by %s at %s", s.Source, s.Proto, orNone(s.MountPoint))
	}
	return m
}

func interfaces(r *microvm.Record) map[string]string {
	m := map[string]string{}
	for _, i := range r.Interfaces {
		m[i.ID] = fmt.Sprintf("%s %s", i.Type, i.MAC)
	}
	return m
}

func listChanges(what string, from, to map[string]string) []string {
	var out []string
	for _, k := range sortedKeys(from, to) {
		a, had := from[k]
		b, has := to[k]
		switch {
		case !had:
			out = append(out, fmt.Sprintf("%s %s is new (%s)", what, k, b))
		case !has:
			out = append(out, fmt.Sprintf("%s %s is gone", what, k))
		case a != b:
			out = append(out, fmt.Sprintf("%s %s: %s → %s", what, k, a, b))
		}
	}
	return out
}
