package helper

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"ferry/internal/flake"
	"ferry/internal/host"
	"ferry/internal/host/inventory"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvmcmd"
	"ferry/internal/nix"
)

// list gives one answer for each VM.
func (h *Helper) list() *cobra.Command {
	var check bool
	var except []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print the VMs of this machine, one a line, as JSON",
		Args:  cobra.NoArgs,
		RunE: h.answering(func(ctx context.Context, _ []string, answers *host.Answers) error {
			vms, err := List(ctx, h.Err, check, except)
			if err != nil {
				return err
			}
			for _, v := range vms {
				answers.Result(v)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&check, "check", false, "compare with what the VMs' flake files yield")
	cmd.Flags().StringArrayVar(&except, "except", nil, "a VM not to check")
	return cmd
}

// List lists the VMs of this machine. With check those that are not in except are
// compared with what their flakes yield; Nix's messages go to log.
func List(ctx context.Context, log io.Writer, check bool, except []string) ([]hostapi.Listed, error) {
	l := inventory.NewLister(ctx, vmstate.DefaultLayout())
	defer l.Close()
	vms, err := l.List(ctx)
	if err != nil || !check {
		return vms, err
	}
	evaluator := &flake.Evaluator{Nix: &nix.Nix{Program: "nix", Log: log}, CacheDir: flake.DefaultCacheDir()}
	return vms, microvmcmd.Check(ctx, evaluator, vms, except)
}
