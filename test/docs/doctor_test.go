package docs

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ferry/internal/doctor"
)

// docs/doctor.md has every check of `ferry doctor`, and no other.
func TestDoctorChecks(t *testing.T) {
	text := read(t, "docs/doctor.md")
	rows := func(heading string) (names []string) {
		for _, cell := range firstCells(t, text, heading) {
			names = append(names, strings.Split(cell, "`, `")...)
		}
		return names
	}
	login := rows("login check")
	for where, heading := range map[doctor.Where]string{doctor.Operator: "operator check", doctor.Host: "host check", doctor.Guest: "guest check"} {
		documented := rows(heading)
		if where != doctor.Operator {
			documented = append(documented, login...)
		}
		var made []string
		for _, c := range doctor.Checks() {
			if c.Where == where {
				made = append(made, c.What)
			}
		}
		sameSet(t, heading, documented, made)
	}
}

// docs/json.md has the keys of a finding, and its severities.
func TestDoctorJSON(t *testing.T) {
	text := read(t, "docs/json.md")
	typ := reflect.TypeFor[doctor.Finding]()
	sameSet(t, "key", firstCells(t, text, "key"), jsonNames(typ))
	for i := range typ.NumField() {
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\|([^|]*)\\|").FindStringSubmatch(text)
		if row == nil || strings.Contains(row[1], "always") == strings.Contains(options, "omitempty") {
			t.Errorf("docs/json.md: is %s always there? The code says %v", name, !strings.Contains(options, "omitempty"))
		}
	}
	said := regexp.MustCompile("`severity`.*").FindString(text)
	for _, severity := range constants(t, "internal/doctor/finding.go", "", "Severity") {
		if !slices.Contains(regexp.MustCompile("`([a-z]+)`").FindAllString(said, -1), "`"+severity+"`") {
			t.Errorf("docs/json.md does not have the severity %s", severity)
		}
	}
}
