package cmdline

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"ferry/internal/microvm"
)

// Strict makes root, which has all of its commands, say its errors the way both
// programs do: they are printed by their caller, and whatever is wrong with the
// command line is a *UsageError. Every help ends with the exit codes.
func Strict(root *cobra.Command) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &UsageError{Err: err, Next: cmd.CommandPath() + " --help lists the options"}
	})
	help := root.HelpFunc()
	// Templates of our own would keep text/template in the programs, and with it all
	// exported methods: twice their size.
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", ExitCodes)
	})
	usageErrors(root)
}

// usageErrors makes a wrong number of arguments a wrong usage, for cobra's own
// checks in all commands below cmd.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return Usage(cmd, err)
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		usageErrors(c)
	}
}

// UnknownCommand is the error of a word that is none of cmd's commands.
func UnknownCommand(cmd *cobra.Command, word string) error {
	message := "unknown command " + strconv.Quote(word)
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		message += " (did you mean `" + near[0] + "`?)"
	}
	return &UsageError{Err: errors.New(message), Next: cmd.CommandPath() + " --help lists the commands"}
}

// Usage is the error of arguments that cmd can't take.
func Usage(cmd *cobra.Command, err error) error {
	return &UsageError{Err: err, Next: "usage: " + cmd.UseLine()}
}

// VM is the VM's name, the first of at most 1+more arguments.
func VM(cmd *cobra.Command, args []string, more int) (microvm.Name, error) {
	switch {
	case len(args) == 0:
		return "", Usage(cmd, fmt.Errorf("%s needs the name of a VM", cmd.Name()))
	case len(args) > 1+more:
		return "", Usage(cmd, fmt.Errorf("too many arguments: %s takes at most %d", cmd.Name(), 1+more))
	}
	n, err := microvm.ParseName(args[0])
	if err != nil {
		return "", Usage(cmd, err)
	}
	return n, nil
}

// Generations reads numbers of generations.
func Generations(words []string) ([]int, error) {
	var numbers []int
	for _, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil || n < 1 {
			return nil, &UsageError{Err: fmt.Errorf("%.40q is not a generation", w), Next: "ferry generations NAME lists their numbers"}
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
