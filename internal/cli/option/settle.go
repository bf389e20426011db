package option

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"ferry/internal/hostapi"
)

// AddSettleFlag is for commands that may find a deployment which was left
// unfinished.
func AddSettleFlag(cmd *cobra.Command, choice *hostapi.SettleChoice) {
	cmd.Flags().Var((*settleValue)(choice), "settle", "what becomes of an earlier deployment that was left unfinished and runs, unconfirmed: keep it, or undo it (restarts the VM); without this it is kept where its checks pass, else nothing is deployed")
	_ = cmd.RegisterFlagCompletionFunc("settle", cobra.FixedCompletions(settleChoices(), cobra.ShellCompDirectiveNoFileComp))
}

func settleChoices() []string {
	var names []string
	for _, c := range hostapi.SettleChoices() {
		names = append(names, string(c))
	}
	return names
}

// settleValue is a choice as an option's value.
type settleValue hostapi.SettleChoice

func (v *settleValue) String() string { return string(*v) }
func (v *settleValue) Type() string   { return "keep|undo" }

func (v *settleValue) Set(s string) error {
	if !slices.Contains(settleChoices(), s) {
		return fmt.Errorf("%.40q is neither keep nor undo", s)
	}
	*v = settleValue(s)
	return nil
}
