package runner

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Command is what bin/microvm-run starts at its end, and what it does before.
type Command struct {
	Program string // the hypervisor; empty where the script doesn't end as microvm.nix's
	Options []Option
	// Before is the script up to where the hypervisor's arguments begin, and
	// Runtime how those are found that are only known at the start
	// (`extraArgsScript`).
	Before, Runtime string
}

// Option is one option of a command line, or one setting of a configuration file. An
// argument that belongs to none has no Flag.
type Option struct{ Flag, Value string }

const (
	maxWords    = 4096
	runtimeArgs = "\nruntime_args="
)

// command reads the script's last command.
func (r Runner) command(script string) Command {
	at := strings.LastIndex("\n"+script, "\nexec ")
	if at < 0 {
		return Command{Before: script}
	}
	c := Command{Before: script[:at]}
	if i := strings.LastIndex(c.Before, runtimeArgs); i >= 0 {
		c.Before, c.Runtime = c.Before[:i], strings.TrimSpace(c.Before[i+len(runtimeArgs):])
	}
	words := shellWords(script[at:])[1:]
	if len(words) > 2 && words[0] == "-a" { // the name of the process
		words = words[2:]
	}
	if len(words) > 1 && filepath.Base(words[0]) == "unbuffer" {
		words = words[1:]
	}
	if len(words) == 0 {
		return c
	}
	c.Program = words[0]
	for _, o := range options(words[1:]) {
		if o.Flag == "--config-file" {
			if settings, ok := r.settings(o.Value); ok {
				c.Options = append(c.Options, settings...)
				continue
			}
		}
		c.Options = append(c.Options, o)
	}
	return c
}

// many are options that take all words up to the next one.
var many = map[string]bool{"--disk": true, "--fs": true, "--net": true, "--device": true}

// options pairs flags with their values.
func options(words []string) []Option {
	var out []Option
	flag, open := "", false
	for _, w := range words {
		switch {
		case strings.HasPrefix(w, "-") && len(w) > 1:
			if open {
				out = append(out, Option{flag, ""})
			}
			flag, open = w, true
			if f, v, ok := strings.Cut(w, "="); ok && strings.HasPrefix(w, "--") {
				out, open = append(out, Option{f, v}), false
			}
		case open || many[flag]:
			out, open = append(out, Option{flag, w}), false
		default:
			out = append(out, Option{"", w})
		}
	}
	if open {
		out = append(out, Option{flag, ""})
	}
	return out
}

// settings reads a configuration file in JSON, as Firecracker has it: each value
// with the names that lead to it. Lists are settings that occur more than once.
func (r Runner) settings(file string) ([]Option, bool) {
	text, ok := r.storeText(file)
	if !ok {
		return nil, false
	}
	rd := &reader{Runner: r}
	var tree any
	if json.Unmarshal([]byte(rd.masked(text)), &tree) != nil {
		return nil, false
	}
	return flatten("", tree), true
}

func flatten(name string, v any) []Option {
	var out []Option
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out = append(out, flatten(strings.TrimPrefix(name+"."+k, "."), v[k])...)
		}
	case []any:
		for _, e := range v {
			b, err := json.Marshal(e) // keys are sorted
			if err == nil {
				out = append(out, Option{name, string(b)})
			}
		}
	case nil:
	default:
		out = append(out, Option{name, fmt.Sprint(v)})
	}
	return out
}

// shellWords splits a command as a shell does, without expanding anything.
func shellWords(s string) []string {
	var out []string
	var word strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(s) && len(out) < maxWords; i++ {
		c := s[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == '\'':
			word.WriteByte(c)
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] != '\n' {
				in = true
				word.WriteByte(s[i])
			}
		case quote == '"':
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, in = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if in {
				out = append(out, word.String())
				word.Reset()
				in = false
			}
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if in {
		out = append(out, word.String())
	}
	return out
}
