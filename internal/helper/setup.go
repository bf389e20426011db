package helper

import (
	"context"
	"encoding/json"

	"ferry/internal/host/examine"
	"ferry/internal/host/setup"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/nix"
	"ferry/internal/timers"
)

// setUp makes this machine a host, or undoes that.
func (h *Helper) setUp(ctx context.Context, req hostapi.SetupRequest) (any, error) {
	s, err := setup.New(ctx, h.Programs)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	do := s.Apply
	if req.Remove {
		do = s.Remove
	}
	return do(ctx, req.DryRun)
}

// setTimers sets a timer of this machine, or looks at all where set is empty.
func setTimers(ctx context.Context, set json.RawMessage) (any, error) {
	m, err := timers.Here(ctx)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if len(set) == 0 {
		return m.Status(ctx)
	}
	req, err := timers.DecodeRequest(set)
	if err != nil {
		return nil, err
	}
	return m.Do(ctx, req)
}

// examine looks at this machine as a deployment would meet it.
func (h *Helper) examine(ctx context.Context, req hostapi.ExamineRequest) (any, error) {
	host := examine.Host{Layout: vmstate.DefaultLayout(), Programs: h.Programs, Nix: &nix.Nix{Program: "nix"}}
	return host.Examine(ctx, req), nil
}
