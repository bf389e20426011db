package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferry/internal/cli"
)

func TestEachCommandHasAPage(t *testing.T) {
	found := files("")
	for _, name := range []string{
		"man/man1/ferry.1", "man/man1/ferry-rebuild.1", "man/man1/ferry-host-timer-update.1", "man/man1/microvm.1",
		"bash-completion/completions/ferry", "zsh/site-functions/_ferry", "fish/vendor_completions.d/ferry.fish",
	} {
		if len(found[name]) == 0 {
			t.Errorf("%s is missing among %q", name, slices.Sorted(maps.Keys(found)))
		}
	}
	for _, name := range []string{"ferry-completion", "ferry-host-guard", "ferry-help"} {
		if found["man/man1/"+name+".1"] != nil {
			t.Errorf("%s has a page, though no help shows it", name)
		}
	}
}

// Packages are made of it, and must be the same bytes each time.
func TestFilesAreTheSameEachTime(t *testing.T) {
	a, b := files("v1.2.0"), files("v1.2.0")
	if !maps.EqualFunc(a, b, bytes.Equal) {
		t.Error("two runs wrote different files")
	}
}

func TestPageHasItsSections(t *testing.T) {
	page := string(pages(cli.Command(), "v1.2.0")["ferry"])
	at := 0
	for _, s := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"} {
		i := strings.Index(page[at:], ".SH \""+s+"\"\n")
		if i < 0 {
			t.Fatalf("no section %s behind the ones before it in\n%s", s, page)
		}
		at += i
	}
	if first, _, _ := strings.Cut(page, "\n"); first != `.TH "FERRY" 1 "" "ferry v1.2.0" ferry` {
		t.Errorf("the head is %s", first)
	}
}

func TestTextIsShownAsItIs(t *testing.T) {
	var r roff
	r.text("see `a-b`:\n'x'\n\n  ferry \\ ~/x\n    .y\n\n.z")
	want := "see \\fBa\\-b\\fR: \\(aqx\\(aq\n" +
		".sp\n.RS 4\n.nf\nferry \\e \\(ti/x\n  .y\n.fi\n.RE\n" +
		".sp\n\\&.z\n"
	if got := strings.TrimPrefix(r.String(), ".sp\n"); got != want {
		t.Errorf("%q, wanted %q", got, want)
	}
}

func TestFilesAreBelowShare(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir, ""); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "share/man/man1/ferry.1"))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
}
