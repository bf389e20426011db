package ui

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTable(t *testing.T) {
	header := []string{"VM", "STATE", "FLAKE"}
	rows := []Row{
		{Cells: []string{"web", "running", "git+https://git.example.org/infra?ref=main"}, Remarks: []string{"memory 512 → 768 MiB\nwaits"}},
		{Cells: []string{"a-longer-name", "stopped"}},
		{Cells: []string{"evil\x1b[31m", "failed", ""}},
	}
	want := `VM               STATE    FLAKE
web              running  git+https://git.example.org/infra?ref=main
    memory 512 → 768 MiB waits
a-longer-name    stopped
evil\x1b[31m     failed
`
	want = strings.ReplaceAll(want, "VM               ", "VM             ")
	want = strings.ReplaceAll(want, "web              ", "web            ")
	want = strings.ReplaceAll(want, "a-longer-name    ", "a-longer-name  ")
	want = strings.ReplaceAll(want, `evil\x1b[31m     `, `evil\x1b[31m   `)
	if got := layOut(header, rows, 0); got != want {
		t.Errorf("got\n%s\nwanted\n%s", got, want)
	}
	for _, line := range strings.Split(layOut(header, rows, 40), "\n") {
		if n := utf8.RuneCountInString(line); n > 40 {
			t.Errorf("%d wide: %s", n, line)
		}
	}
	if got := layOut(header, rows, 40); !strings.Contains(got, "git+https") || !strings.Contains(got, "…") {
		t.Errorf("got\n%s", got)
	}
	if got := layOut(header, rows, 5); !strings.Contains(got, "…") { // too narrow for anything: still no endless loop
		t.Errorf("got\n%s", got)
	}
}
