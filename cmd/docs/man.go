package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ferry/internal/cmdline"
)

// pages are the manual pages by their names without `.1`: one for each command that
// users see, and the `microvm` command's.
func pages(root *cobra.Command, version string) map[string][]byte {
	found := map[string][]byte{"microvm": microvmPage(version)}
	addPages(found, root, version)
	return found
}

func addPages(to map[string][]byte, cmd *cobra.Command, version string) {
	if cmd.HasParent() && !cmd.IsAvailableCommand() {
		return
	}
	to[pageName(cmd)] = page(cmd, version)
	for _, c := range cmd.Commands() {
		addPages(to, c, version)
	}
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func page(cmd *cobra.Command, version string) []byte {
	cmd.InitDefaultHelpFlag()
	var r roff
	r.head(pageName(cmd), version)
	r.section("NAME")
	r.WriteString(escaped(pageName(cmd)) + ` \- ` + bold(cmd.Short) + "\n")
	r.section("SYNOPSIS")
	r.WriteString(synopsis(cmd) + "\n")
	r.section("DESCRIPTION")
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	r.text(cmd.Long)
	r.commands(cmd)
	r.options("OPTIONS", cmd.NonInheritedFlags())
	r.options("OPTIONS OF ALL COMMANDS", cmd.InheritedFlags())
	r.exitStatus(strings.TrimPrefix(cmdline.ExitCodes, "Exit codes:"))
	if !cmd.HasParent() {
		r.list("ENVIRONMENT", environment())
		r.list("FILES", wellKnownFiles())
	}
	if cmd.Example != "" {
		r.section("EXAMPLES")
		r.verbatim(cmd.Example)
	}
	r.section("SEE ALSO")
	r.WriteString(seeAlso(cmd) + "\n")
	return []byte(r.String())
}

// synopsis is the command in bold and its arguments.
func synopsis(cmd *cobra.Command) string {
	arguments := strings.TrimPrefix(cmd.Use, cmd.Name())
	if cmd.HasAvailableSubCommands() {
		arguments = " COMMAND"
	}
	return `\fB` + escaped(cmd.CommandPath()) + `\fR` + escaped(arguments+" [OPTION…]")
}

func (r *roff) commands(cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	r.section("COMMANDS")
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			r.item(`\fB`+escaped(c.CommandPath())+`\fR`+escaped(strings.TrimPrefix(c.Use, c.Name())), c.Short+".")
		}
	}
}

func (r *roff) options(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	r.section(title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		if worthSaying(f) {
			usage += " (default: `" + f.DefValue + "`)"
		}
		r.item(option(f, value), usage)
	})
}

// option is such as -f, --flake=STRING.
func option(f *pflag.Flag, value string) string {
	s := `\fB` + escaped("--"+f.Name) + `\fR`
	if f.Shorthand != "" {
		s = `\fB` + escaped("-"+f.Shorthand) + `\fR, ` + s
	}
	if value == "" {
		return s
	}
	if strings.HasPrefix(value, "string") { // Go's word; stringArray, too
		value = "value"
	}
	value = `=\fI` + escaped(strings.ToUpper(value)) + `\fR`
	switch {
	case f.Value.Type() == "NAME VALUE": // Nix's options with two
		value = ` ` + value[1:]
	case f.NoOptDefVal != "":
		value = "[" + value + "]"
	}
	return s + value
}

// worthSaying leaves the values out that stand for "not given", and those that the
// usage names itself.
func worthSaying(f *pflag.Flag) bool {
	return !slices.Contains([]string{"", "false", "0", "[]"}, f.DefValue) && !strings.Contains(f.Usage, "default")
}

// exitStatus takes `0 done; 1 failed; …` apart.
func (r *roff) exitStatus(codes string) {
	r.section("EXIT STATUS")
	for code := range strings.SplitSeq(strings.TrimSuffix(codes, "."), ";") {
		number, meaning, _ := strings.Cut(strings.Join(strings.Fields(code), " "), " ")
		r.item(escaped(number), meaning)
	}
}

func (r *roff) list(title string, items []entry) {
	r.section(title)
	for _, i := range items {
		r.item(`\fB`+escaped(i.what)+`\fR`, i.text)
	}
}

// seeAlso are the pages of the command above, of those below, and for ferry of what
// it works with.
func seeAlso(cmd *cobra.Command) string {
	var names []string
	if cmd.HasParent() {
		names = append(names, pageName(cmd.Parent())+"(1)")
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, pageName(c)+"(1)")
		}
	}
	if !cmd.HasParent() {
		names = append(names, "microvm(1)", "nix(1)", "ssh(1)", "ssh_config(5)", "systemctl(1)")
	}
	for i, name := range names {
		page, section, _ := strings.Cut(name, "(")
		names[i] = `\fB` + escaped(page) + `\fR(` + section
	}
	return strings.Join(names, ", ")
}
