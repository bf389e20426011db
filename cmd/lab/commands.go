package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ferry/internal/lab"
)

func command() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:           "lab",
		Short:         "A small world of containers and virtual machines to try ferry in",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVar(&root, "root", lab.DefaultRoot, "directory of the lab; each is a lab of its own")
	cmd.AddCommand(upCommand(&root), downCommand(&root), statusCommand(&root), execCommand(&root), bootCommand(&root), demoCommand(&root))
	return cmd
}

func upCommand(root *string) *cobra.Command {
	var hosts int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the lab, or complete one that runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Up(cmd.Context(), lab.Options{Hosts: hosts, Root: *root, Log: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			return printStatus(cmd, l)
		},
	}
	cmd.Flags().IntVar(&hosts, "hosts", 0, "number of hosts (default: as many as there are, else 1)")
	return cmd
}

func downCommand(root *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the lab and remove all of it but the cached root file system",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return lab.Down(cmd.Context(), *root) },
	}
}

func statusCommand(root *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the machines of the lab",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(*root)
			if err != nil {
				return err
			}
			return printStatus(cmd, l)
		},
	}
}

func printStatus(cmd *cobra.Command, l *lab.Lab) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, m := range l.Machines() {
		status := "stopped"
		if m.Running() {
			status = "running"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", m.Name, m.Addr, status)
	}
	return w.Flush()
}

func execCommand(root *string) *cobra.Command {
	var c lab.Cmd
	cmd := &cobra.Command{
		Use:   "exec MACHINE [COMMAND [ARG…]]",
		Short: "Run a command in a machine; its exit status is this one's (default: a shell)",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(*root)
			if err != nil {
				return err
			}
			m, err := l.Machine(args[0])
			if err != nil {
				return err
			}
			c.Args = args[1:]
			if len(c.Args) == 0 {
				c.Args = []string{"bash", "-l"}
			}
			return m.Exec(c)
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVarP(&c.User, "user", "u", "root", "user to run it as")
	cmd.Flags().StringVarP(&c.Dir, "dir", "C", "", "working directory (default: the user's home)")
	return cmd
}

func bootCommand(root *string) *cobra.Command {
	return &cobra.Command{
		Use:   "boot GUEST SYSTEM",
		Short: "Boot a container guest (guest1, guest2) with a system of host1's store",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Open(*root)
			if err != nil {
				return err
			}
			return l.BootGuest(cmd.Context(), args[0], args[1])
		},
	}
}
