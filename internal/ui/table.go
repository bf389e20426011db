package ui

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Row is one line of a table, with remarks that follow it on lines of their own.
type Row struct {
	Cells   []string
	Remarks []string
}

const (
	columnGap = "  "
	minColumn = 6 // characters that a shortened column keeps at least
)

// Table prints rows as aligned columns on stdout. On a terminal the widest
// columns are shortened until a row fits its width; elsewhere nothing is.
func (u *UI) Table(header []string, rows []Row) error {
	width := 0
	if f, ok := u.Out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = w
		}
	}
	return u.Text(layOut(header, rows, width))
}

// layOut is the table as text; width 0 means any.
func layOut(header []string, rows []Row, width int) string {
	lines := make([][]string, 0, len(rows)+1)
	lines = append(lines, header)
	for _, r := range rows {
		cells := make([]string, len(header))
		for i := range cells {
			if i < len(r.Cells) {
				cells[i] = oneLine(r.Cells[i])
			}
		}
		lines = append(lines, cells)
	}
	widths := columnWidths(lines, width)
	var b strings.Builder
	for i, cells := range lines {
		b.WriteString(strings.TrimRight(join(cells, widths), " ") + "\n")
		if i == 0 {
			continue
		}
		for _, remark := range rows[i-1].Remarks {
			b.WriteString("    " + oneLine(remark) + "\n")
		}
	}
	return b.String()
}

func columnWidths(lines [][]string, width int) []int {
	widths := make([]int, len(lines[0]))
	total := len(columnGap) * (len(widths) - 1)
	for i := range widths {
		for _, cells := range lines {
			widths[i] = max(widths[i], utf8.RuneCountInString(cells[i]))
		}
		total += widths[i]
	}
	for width > 0 && total > width {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= minColumn {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}

func join(cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteString(columnGap)
		}
		n := utf8.RuneCountInString(cell)
		if n > widths[i] {
			cell = string([]rune(cell)[:widths[i]-1]) + "…"
			n = widths[i]
		}
		b.WriteString(cell + strings.Repeat(" ", widths[i]-n))
	}
	return b.String()
}

// oneLine is text from elsewhere as one harmless line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, Clean(s))
}
