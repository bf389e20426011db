package main

import (
	"fmt"
	"strings"
)

// roff is a manual page in the macros of man(7), which groff and mandoc read. There
// is no date: the page changes with the source only.
type roff struct {
	strings.Builder
	first bool // nothing stands in the section yet
}

func (r *roff) head(name, version string) {
	fmt.Fprintf(r, ".TH %s 1 \"\" %s ferry\n", quoted(strings.ToUpper(name)), quoted(strings.TrimSpace("ferry "+version)))
}

func (r *roff) section(title string) {
	fmt.Fprintf(r, ".SH %s\n", quoted(title))
	r.first = true
}

// gap is what separates paragraphs, also where a block with an indentation of its
// own follows, before which man(7)'s .PP adds none.
func (r *roff) gap() {
	if !r.first {
		r.WriteString(".sp\n")
	}
	r.first = false
}

// line is one line of text, with `words` in bold.
func (r *roff) line(text string) { r.WriteString(guarded(bold(text)) + "\n") }

// text is plain text as the help has it: paragraphs, and indented lines, which stay
// as they are.
func (r *roff) text(text string) {
	for block := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if strings.HasPrefix(block, "  ") {
			r.verbatim(block)
			continue
		}
		r.gap()
		// As one line, since a sentence may go on in bold on the next.
		r.line(strings.Join(strings.Fields(block), " "))
	}
}

// verbatim keeps lines, but for what they are indented by.
func (r *roff) verbatim(text string) {
	r.gap()
	r.WriteString(".RS 4\n.nf\n")
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		r.WriteString(guarded(escaped(strings.TrimPrefix(strings.TrimRight(line, "\n"), "  "))) + "\n")
	}
	r.WriteString(".fi\n.RE\n")
}

// item is an entry of a list: what it is about, already marked up, and its text.
func (r *roff) item(what, text string) {
	r.WriteString(".TP\n" + guarded(what) + "\n")
	r.line(text)
}

// bold marks up what stands between backquotes.
func bold(text string) string {
	parts := strings.Split(text, "`")
	for i, part := range parts {
		parts[i] = escaped(part)
		if i%2 == 1 {
			parts[i] = `\fB` + parts[i] + `\fR`
		}
	}
	return strings.Join(parts, "")
}

// escaped is text as roff prints it literally: a plain `-` would become a hyphen,
// a plain `'` or `^` typographic signs that no shell takes.
func escaped(text string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, `^`, `\(ha`, `~`, `\(ti`, "`", `\(ga`).Replace(text)
}

// guarded is a line that is not taken for a request of roff.
func guarded(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

func quoted(text string) string { return `"` + strings.ReplaceAll(escaped(text), `"`, `\(dq`) + `"` }
