// Package docs is what `ferry` carries of these documents: troubleshooting, for
// somebody who has nothing but the program. It must not know what prints it.
package docs

import (
	_ "embed"
	"regexp"
	"strings"
	"unicode/utf8"
)

//go:embed troubleshooting.md
var troubleshooting string

// Section is a section of troubleshooting.md.
type Section struct {
	Name  string `json:"section"` // the anchor of its heading
	Title string `json:"title"`
	Text  string `json:"text"` // for a terminal, without Markdown's links and fences
}

const heading = "\n## "

// TroubleshootingSections are all sections, in their order.
func TroubleshootingSections() []Section {
	var all []Section
	for _, part := range strings.Split("\n"+troubleshooting, heading)[1:] {
		title, text, _ := strings.Cut(part, "\n")
		all = append(all, Section{Name: anchor(title), Title: title, Text: plain(text)})
	}
	return all
}

// Troubleshooting is the section of a name.
func Troubleshooting(name string) (Section, bool) {
	for _, s := range TroubleshootingSections() {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

var notInAnchors = regexp.MustCompile(`[^a-z0-9 _-]`)

// anchor is GitHub's for a heading.
func anchor(title string) string {
	return strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
}

var link = regexp.MustCompile(`\[([^\]]+)\]\(([^)#]*)(#[^)]*)?\)`)

// plain indents what is fenced, wraps what is not, and names the files that links
// lead to.
func plain(markdown string) string {
	var out strings.Builder
	fenced := false
	for line := range strings.Lines(strings.TrimSpace(markdown) + "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced:
			out.WriteString("    " + line)
		default:
			out.WriteString(wrapped(link.ReplaceAllStringFunc(line, named)))
		}
	}
	return out.String()
}

func named(l string) string {
	m := link.FindStringSubmatch(l)
	if m[2] == "" || strings.Contains(m[2], "://") {
		return m[1]
	}
	return m[1] + " (docs/" + strings.TrimPrefix(m[2], "../") + ")"
}

const columns = 80

var listItem = regexp.MustCompile(`^(- |[0-9]+\. )`)

// wrapped breaks a paragraph, or an item of a list, into lines for a terminal.
func wrapped(paragraph string) string {
	indent := strings.Repeat(" ", len(listItem.FindString(paragraph)))
	var out strings.Builder
	length := 0
	for word := range strings.FieldsSeq(paragraph) {
		switch n := utf8.RuneCountInString(word); {
		case length == 0:
			length = n
		case length+1+n > columns:
			out.WriteString("\n" + indent)
			length = len(indent) + n
		default:
			out.WriteByte(' ')
			length += 1 + n
		}
		out.WriteString(word)
	}
	return out.String() + "\n"
}
