package manage

import (
	"context"

	"ferry/internal/helperbin"
	"ferry/internal/host/setup"
)

// Setup makes the host a host of MicroVMs, or undoes that with remove. With
// dryRun nothing is changed, and no helper left there. Ferry itself does it where
// it can run there: it then is at hand to be installed.
func (h *Host) Setup(ctx context.Context, remove, dryRun bool) (*setup.Report, error) {
	args := []string{"setup-here"}
	h.Program = helperbin.OrFerry
	if remove {
		h.Program = helperbin.For
		args = append(args, "--remove")
	}
	if dryRun {
		args = append(args, "--dry-run")
		h.NoTrace = true
	}
	var r setup.Report
	if err := h.Run(ctx, "", &r, args...); err != nil {
		return nil, err
	}
	return &r, nil
}
