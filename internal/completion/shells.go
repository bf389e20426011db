package completion

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ferry/internal/cmdline"
)

// Shell is a shell that ferry can be completed in.
type Shell struct {
	Name string
	File string // where its script is looked for, below share
	help string // how to install it
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

For every new one:

  mkdir -p ~/.zfunc
  ferry completion zsh > ~/.zfunc/_ferry

with these two lines in ~/.zshrc, instead of a compinit that is there:

  fpath=(~/.zfunc $fpath)
  autoload -U compinit && compinit`,
			(*cobra.Command).GenZshCompletion},
		{"fish", "fish/vendor_completions.d/ferry.fish", `For this shell:

  ferry completion fish | source

For every new one:

  mkdir -p ~/.config/fish/completions
  ferry completion fish > ~/.config/fish/completions/ferry.fish`,
			func(root *cobra.Command, to io.Writer) error { return root.GenFishCompletion(to, true) }},
	}
}

// Script is what the shell reads. It asks the program that is being completed, which
// has root's name.
func (s Shell) Script(root *cobra.Command) []byte {
	var b bytes.Buffer
	_ = s.gen(root, &b) // writing into memory doesn't fail
	return b.Bytes()
}

// ScriptCommand prints the scripts.
func ScriptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion",
		Short: "Print a script that lets a shell complete ferry's commands",
		Long: `Prints a script for bash, zsh or fish. With it, the Tab key offers commands,
options, VMs, hosts and actions. Packages of ferry bring the scripts along.`,
		Hidden: true, // packagers call it, and others once
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
			Use: s.Name, Short: "Print the script for " + s.Name, Long: s.help, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s", s.Script(cmd.Root()))
				return err
			},
		})
	}
	return cmd
}
