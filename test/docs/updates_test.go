package docs

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"ferry/internal/timers"
)

// docs/updates.md names every setting of the timers and no other, and its
// example is one that ferry reads.
func TestTimerSettings(t *testing.T) {
	text := read(t, "docs/updates.md")
	var want []string
	top := reflect.TypeFor[timers.Settings]()
	for i := range top.NumField() {
		section, _, _ := strings.Cut(top.Field(i).Tag.Get("json"), ",")
		for _, name := range jsonNames(top.Field(i).Type.Elem()) {
			want = append(want, section+"."+name)
		}
	}
	sameSet(t, "setting", firstCells(t, text, "setting"), want)
	n := 0
	for _, b := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(b[1], `"update"`) {
			continue
		}
		n++
		if _, err := timers.Decode([]byte(b[1])); err != nil {
			t.Errorf("the example of docs/updates.md: %v", err)
		}
	}
	if n == 0 {
		t.Error("docs/updates.md has no example of the settings")
	}
}
