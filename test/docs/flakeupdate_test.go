package docs

import (
	"reflect"
	"strings"
	"testing"

	"ferry/internal/flakeupdate"
)

// docs/flake-update.md names every field and outcome of a result.
func TestFlakeUpdateResult(t *testing.T) {
	text := read(t, "docs/flake-update.md")
	sameSet(t, "field", firstCells(t, text, "key"), jsonNames(reflect.TypeFor[flakeupdate.Result]()))
	outcomes := constants(t, "internal/flakeupdate/result.go", "", "Outcome")
	if len(outcomes) == 0 {
		t.Error("no outcomes were found")
	}
	for _, outcome := range outcomes {
		if !strings.Contains(text, "`"+outcome+"`:") {
			t.Errorf("the outcome %s is not documented", outcome)
		}
	}
	for _, field := range append(jsonNames(reflect.TypeFor[flakeupdate.Change]()), jsonNames(reflect.TypeFor[flakeupdate.Locked]())...) {
		if !strings.Contains(text, "`"+field+"`") {
			t.Errorf("the field %s of an input is not documented", field)
		}
	}
}
