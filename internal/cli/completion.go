package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
	"ferry/internal/ui"
)

// Shell is a shell that ferry can be completed in.
type Shell struct {
	Name string
	File string // where its script is looked for, below share
	Help string // how to install it
	gen  func(root *cobra.Command, to io.Writer) error
}

// Shells are those that there are scripts for.
func Shells() []Shell {
	return []Shell{
		{"bash", "bash-completion/completions/ferry", `The script needs the package bash-completion, 2 or newer. For this shell:

  source <(ferry completion bash)

For every new one:

  mkdir -p ~/.local/share/bash-completion/completions
  ferry completion bash > ~/.local/share/bash-completion/completions/ferry`,
			func(root *cobra.Command, to io.Writer) error { return root.GenBashCompletionV2(to, true) }},
		{"zsh", "zsh/site-functions/_ferry", `For this shell, where compinit has run:

  source <(ferry completion zsh)

For every new one, put the script into a directory of $fpath before compinit runs
in ~/.zshrc:

  mkdir -p ~/.zfunc
  ferry completion zsh > ~/.zfunc/_ferry

and in ~/.zshrc:

  fpath=(~/.zfunc $fpath)
  autoload -U compinit && compinit`,
			func(root *cobra.Command, to io.Writer) error { return root.GenZshCompletion(to) }},
		{"fish", "fish/vendor_completions.d/ferry.fish", `For this shell:

  ferry completion fish | source

For every new one:

  ferry completion fish > ~/.config/fish/completions/ferry.fish`,
			func(root *cobra.Command, to io.Writer) error { return root.GenFishCompletion(to, true) }},
	}
}

// Script is what the shell reads. It asks the `ferry` that is being completed.
func (s Shell) Script() string {
	var b bytes.Buffer
	_ = s.gen(Command(), &b) // writing into memory doesn't fail
	return b.String()
}

// Command is ferry's command line with all its commands, for documents; it is not
// meant to be run.
func Command() *cobra.Command {
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, ui: ui.New(io.Discard, io.Discard, true)}
	return a.rootCommand()
}

func (a *app) completionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion",
		Short: "Print a script that lets a shell complete ferry's commands",
		Long: `Prints a script for bash, zsh or fish. With it, the Tab key offers commands,
options, VMs, hosts and actions. Packages of ferry bring the scripts along.`,
		Hidden: true, // scripts and packagers call it, once
		Args:   cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cmdline.UnknownCommand(cmd, args[0])
			}
			return &cmdline.UsageError{Err: errors.New("the name of a shell is missing"), Next: "ferry completion --help lists them"}
		},
	}
	for _, s := range Shells() {
		cmd.AddCommand(&cobra.Command{
			Use: s.Name, Short: "Print the script for " + s.Name, Long: s.Help, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprint(cmd.OutOrStdout(), s.Script())
				return err
			},
		})
	}
	return cmd
}
