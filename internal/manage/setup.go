package manage

import (
	"context"
	"encoding/json"

	"ferry/internal/helperbin"
	"ferry/internal/host/setup"
	"ferry/internal/hostapi"
	"ferry/internal/timers"
)

// Setup makes the host a host of MicroVMs, or undoes that with remove. With
// dryRun nothing is changed, and no helper left there. Ferry itself does it where
// it can run there: it then is at hand to be installed.
func (h *Host) Setup(ctx context.Context, remove, dryRun bool) (*setup.Report, error) {
	h.NoTrace = h.NoTrace || dryRun
	if !remove {
		h.Program = helperbin.OrFerry
	}
	var r setup.Report
	if err := h.ask(ctx, "", hostapi.Commands{Setup: &hostapi.SetupRequest{Remove: remove, DryRun: dryRun}}, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// SetTimer sets or removes a timer of the host; see Setup for a dry run.
func (h *Host) SetTimer(ctx context.Context, req timers.Request) (*timers.Report, error) {
	set, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	h.NoTrace = h.NoTrace || req.DryRun
	var r timers.Report
	if err := h.ask(ctx, "", hostapi.Commands{Timers: &hostapi.TimersRequest{Set: set}}, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Timers are the timers of the host. No helper is left there.
func (h *Host) Timers(ctx context.Context) ([]timers.Status, error) {
	h.NoTrace = true
	var all []timers.Status
	return all, h.ask(ctx, "", hostapi.Commands{Timers: &hostapi.TimersRequest{}}, &all)
}
