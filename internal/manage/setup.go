package manage

import (
	"context"

	"ferry/internal/host/setup"
)

// Setup makes the host a host of MicroVMs, or undoes that with remove. With
// dryRun nothing is changed, and no helper left there.
func (h *Host) Setup(ctx context.Context, remove, dryRun bool) (*setup.Report, error) {
	args := []string{"setup-here"}
	if remove {
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
