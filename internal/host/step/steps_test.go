package step

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A step that nothing does, or that All does not name, is a step that the fault tests
// miss.
func TestStepsAreAllSteps(t *testing.T) {
	code := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	names := func(pattern, text string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	defined := names(`(?m)^\t([A-Z][A-Za-z]*) +Step = "`, code("steps.go"))
	var used []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			used = append(used, names(`\bstep\.Do\(step\.([A-Z][A-Za-z]*)`, code(path))...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(used)
	if used = slices.Compact(used); !slices.Equal(used, defined) || len(defined) != len(All()) {
		t.Errorf("defined %v\nused %v\nlisted %v", defined, used, All())
	}
}
