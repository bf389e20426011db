package flake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// value is a place in the `ferry` output: what is there, and its path.
type value struct {
	path string
	data any // as encoding/json decodes it, numbers as json.Number; nil: not set
}

func (v value) absent() bool { return v.data == nil }

// object is a value with known keys.
type object struct {
	path   string
	fields map[string]any
}

func (o object) get(key string) value { return value{path: o.path + "." + key, data: o.fields[key]} }
func (o object) has(key string) bool  { return o.fields[key] != nil }

// decoder walks the output and keeps the first error; after it, everything is
// empty.
type decoder struct {
	err  error
	idle map[string]bool // known keys that are set but that nothing acts on
}

func (d *decoder) fail(path, message string) {
	if d.err == nil {
		d.err = &SchemaError{Path: path, Message: message}
	}
}

func (d *decoder) wrong(v value, expected string) {
	d.fail(v.path, fmt.Sprintf("is %s; expected %s", describe(v.data), expected))
}

func (d *decoder) parse(data []byte) (value, bool) {
	v := value{path: "ferry"}
	if len(bytes.TrimSpace(data)) == 0 {
		return v, true
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	err := dec.Decode(&v.data)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = fmt.Errorf("there is more than one value")
		}
	}
	if err != nil {
		d.fail(v.path, "cannot be read: "+err.Error())
	}
	return v, err == nil
}

// object checks the keys of v; an absent v has none.
func (d *decoder) object(v value, known ...string) object {
	fields := d.set(v)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, key) {
			d.fail(v.path+"."+attrName(key), "is not a known key"+didYouMean(key, known)+"; known are: "+strings.Join(known, ", "))
		}
	}
	if d.err != nil {
		fields = nil
	}
	return object{path: v.path, fields: fields}
}

// each calls f for every attribute of v, sorted by name.
func (d *decoder) each(v value, f func(name string, v value)) {
	fields := d.set(v)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if d.err != nil {
			return
		}
		f(name, value{path: v.path + "." + attrName(name), data: fields[name]})
	}
}

func (d *decoder) set(v value) map[string]any {
	if v.absent() || d.err != nil {
		return nil
	}
	fields, ok := v.data.(map[string]any)
	if !ok {
		d.wrong(v, "an attribute set")
	}
	return fields
}

func (v value) text(d *decoder) string {
	if v.absent() || d.err != nil {
		return ""
	}
	s, ok := v.data.(string)
	if !ok {
		d.wrong(v, "a string")
	}
	return s
}

func (d *decoder) boolean(v value) bool {
	if v.absent() || d.err != nil {
		return false
	}
	b, ok := v.data.(bool)
	if !ok {
		d.wrong(v, "true or false")
	}
	return b
}

// integer is 0 when v is absent.
func (d *decoder) integer(v value, least, most int) int {
	if v.absent() || d.err != nil {
		return 0
	}
	number, _ := v.data.(json.Number)
	n, err := strconv.Atoi(number.String())
	if err != nil || n < least || n > most {
		d.wrong(v, fmt.Sprintf("an integer from %d to %d", least, most))
		return 0
	}
	return n
}

// texts reads a list of strings; check says what is wrong with one.
func (d *decoder) texts(v value, check func(string) string) []string {
	if v.absent() || d.err != nil {
		return nil
	}
	list, ok := v.data.([]any)
	if !ok {
		d.wrong(v, "a list of strings")
	}
	var texts []string
	for i, item := range list {
		place := value{path: fmt.Sprintf("%s[%d]", v.path, i), data: item}
		s, ok := item.(string)
		if !ok {
			d.wrong(place, "a string")
		} else if why := check(s); why != "" {
			d.fail(place.path, why)
		}
		texts = append(texts, s)
	}
	return texts
}

func (d *decoder) oneOf(path, s string, allowed ...string) {
	if !slices.Contains(allowed, s) {
		d.fail(path, fmt.Sprintf("is %.80q%s; expected one of %s", s, didYouMean(s, allowed), strings.Join(allowed, ", ")))
	}
}

// unused notes that v is set although nothing acts on it yet.
func (d *decoder) unused(v value) value {
	if !v.absent() {
		if d.idle == nil {
			d.idle = map[string]bool{}
		}
		d.idle[v.path[strings.LastIndex(v.path, ".")+1:]] = true
	}
	return v
}

func (d *decoder) warnings() []string {
	var warnings []string
	for _, key := range slices.Sorted(maps.Keys(d.idle)) {
		warnings = append(warnings, fmt.Sprintf("the flake's output `ferry` sets `%s`, which is known, but nothing acts on it yet", key))
	}
	return warnings
}

func describe(data any) string {
	switch x := data.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(x)
	case json.Number:
		return "the number " + x.String()
	case string:
		return fmt.Sprintf("the string %.80q", x)
	case []any:
		return "a list"
	}
	return "an attribute set"
}

// attrName quotes a name as Nix would where it is no identifier.
func attrName(name string) string {
	if hostNamePattern.MatchString(name) && !strings.Contains(name, ".") {
		return name
	}
	return strconv.Quote(name)
}

func keys[V any](m map[string]V) []string { return slices.Collect(maps.Keys(m)) }
