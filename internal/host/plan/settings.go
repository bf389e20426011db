package plan

import (
	"maps"
	"slices"
	"strings"

	"ferry/internal/runner"
)

// settingChanges names the differences between two sets of settings.
func settingChanges(from, to map[setting][]string) []string {
	all := maps.Clone(from)
	maps.Copy(all, to)
	keys := slices.SortedFunc(maps.Keys(all), func(a, b setting) int {
		if c := strings.Compare(string(a.topic), string(b.topic)); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
	var out []string
	for _, k := range keys {
		a, had := from[k]
		b, has := to[k]
		slices.Sort(a)
		slices.Sort(b)
		if had == has && slices.Equal(a, b) {
			continue
		}
		out = append(out, k.change(strings.Join(a, ","), strings.Join(b, ","), had, has))
	}
	return out
}

func (s setting) change(from, to string, had, has bool) string {
	name := strings.TrimSpace(string(s.topic) + " " + s.key)
	switch {
	case s.topic == kernelArgs:
		return name + ": " + shorten(wordDifference(from, to)) + " → " + shorten(wordDifference(to, from))
	case s.topic == storeDisk, s.key != "", s.valueless(from, to):
		switch {
		case !had:
			return name + " is new"
		case !has:
			return name + " is gone"
		}
	}
	return name + " " + runner.Change(partsOnlyIn(from, to), partsOnlyIn(to, from))
}

// valueless is an option that is either there or not.
func (s setting) valueless(from, to string) bool { return from == "" && to == "" }

// partsOnlyIn leaves out the fields that both have.
func partsOnlyIn(a, b string) string {
	other := strings.Split(b, ",")
	var out []string
	for part := range strings.SplitSeq(a, ",") {
		if !slices.Contains(other, part) {
			out = append(out, part)
		}
	}
	return strings.Join(out, ",")
}

// fields are the `name=value` of an option.
func fields(value string) map[string]string {
	f := map[string]string{}
	for part := range strings.SplitSeq(value, ",") {
		if k, v, ok := strings.Cut(part, "="); ok {
			f[k] = v
		}
	}
	return f
}

// trimmed is an option without the fields that only connect it to others.
func trimmed(value string) string {
	var out []string
	for part := range strings.SplitSeq(value, ",") {
		k, _, _ := strings.Cut(part, "=")
		if !slices.Contains(links, k) {
			out = append(out, part)
		}
	}
	return strings.Join(out, ",")
}

func first(of ...string) string {
	for _, s := range of {
		if s != "" {
			return s
		}
	}
	return ""
}

// topicsOf are the first words of changes, which say what they are about.
func topicsOf(changes []string) map[string]bool {
	topics := map[string]bool{}
	for _, c := range changes {
		word, _, _ := strings.Cut(c, " ")
		topics[word] = true
	}
	return topics
}

// without leaves out what is named already. Kernel arguments are not the kernel.
func without(changes []string, topics map[string]bool) []string {
	var out []string
	for _, c := range changes {
		word, _, _ := strings.Cut(c, " ")
		if !topics[word] || strings.HasPrefix(c, string(kernelArgs)) {
			out = append(out, c)
		}
	}
	return out
}
