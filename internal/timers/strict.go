package timers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"ferry/internal/flake"
)

// strict decodes one JSON object into the struct that into points to. Keys are
// those of its fields' tags, as they are written there; null is not set.
func strict(path string, data []byte, into any) error {
	members, err := members(path, data)
	if err != nil {
		return err
	}
	v := reflect.ValueOf(into).Elem()
	var known []string
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		known = append(known, name)
		fields[name] = v.Field(i)
	}
	for _, m := range members {
		at := strings.TrimPrefix(path+"."+m.key, ".")
		field, ok := fields[m.key]
		if !ok {
			return &SettingsError{Path: at, Why: "is unknown" + flake.DidYouMean(m.key, known)}
		}
		if err := set(at, m.value, field); err != nil {
			return err
		}
	}
	return nil
}

func set(path string, value json.RawMessage, field reflect.Value) error {
	if string(value) == "null" {
		return nil
	}
	if field.Kind() == reflect.Pointer {
		field.Set(reflect.New(field.Type().Elem()))
		if field = field.Elem(); field.Kind() == reflect.Struct {
			return strict(path, value, field.Addr().Interface())
		}
	}
	if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
		want := map[reflect.Kind]string{reflect.String: "a string", reflect.Bool: "true or false", reflect.Slice: "a list of strings"}[field.Kind()]
		return &SettingsError{Path: path, Why: fmt.Sprintf("is %.60s instead of %s", value, want)}
	}
	if field.Kind() == reflect.String && strings.ContainsFunc(field.String(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return &SettingsError{Path: path, Why: "has control characters"}
	}
	return nil
}

type member struct {
	key   string
	value json.RawMessage
}

// members are the members of one object, none of them twice.
func members(path string, data []byte) ([]member, error) {
	wrong := func(format string, a ...any) ([]member, error) {
		return nil, &SettingsError{Path: path, Why: fmt.Sprintf(format, a...)}
	}
	is, has := "are", "have" // the settings; the setting `update` is and has
	if path != "" {
		is, has = "is", "has"
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return wrong("%s not a JSON object", is)
	}
	var found []member
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return wrong("can't be read: %v", err)
		}
		m := member{key: fmt.Sprint(key)}
		if slices.ContainsFunc(found, func(o member) bool { return o.key == m.key }) {
			return wrong("%s `%.40s` twice", has, m.key)
		}
		if err := d.Decode(&m.value); err != nil {
			return wrong("can't be read: %v", err)
		}
		found = append(found, m)
	}
	if _, err := d.Token(); err != nil {
		return wrong("can't be read: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return wrong("%s followed by something else", is)
	}
	return found, nil
}
