package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"ferry/docs"
	"ferry/internal/cli/console"
	"ferry/internal/cmdline"
	"ferry/internal/flake"
	"ferry/internal/ui"
)

func explainCommand(a *console.Console) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [ERROR]",
		Short: "Explain an error, and say what to do about it",
		Long: `Explain an error, by the name that ferry prints behind it ("more: ferry explain …"):
what one sees, why, and what to do. Without a name, all of them are listed. It is
the text of docs/troubleshooting.md.`,
		Example: `  ferry explain
  ferry explain unknown-host-key`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if len(args) == 0 {
				for _, s := range docs.TroubleshootingSections() {
					names = append(names, cobra.CompletionWithDesc(s.Name, s.Title))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listExplained(a.UI)
			}
			s, known := docs.Troubleshooting(sectionName(args[0]))
			switch {
			case !known:
				return &cmdline.UsageError{Err: fmt.Errorf("%.40q is not the name of an error%s", args[0], flake.DidYouMean(sectionName(args[0]), sectionNames())), Next: "ferry explain lists them"}
			case a.UI.JSON:
				return a.UI.Data(s)
			}
			return a.UI.Text(s.Title + "\n" + strings.Repeat("=", utf8.RuneCountInString(s.Title)) + "\n\n" + s.Text)
		},
	}
}

// sectionName takes a title, too, as it stands above the text.
func sectionName(arg string) string {
	return strings.NewReplacer(" ", "-", "_", "-").Replace(strings.ToLower(strings.TrimSpace(arg)))
}

func sectionNames() []string {
	var names []string
	for _, s := range docs.TroubleshootingSections() {
		names = append(names, s.Name)
	}
	return names
}

func listExplained(u *ui.UI) error {
	var text strings.Builder
	for _, s := range docs.TroubleshootingSections() {
		if u.JSON {
			if err := u.Data(s); err != nil {
				return err
			}
			continue
		}
		text.WriteString(s.Name + "\n")
	}
	return u.Text(text.String())
}
