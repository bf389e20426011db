package manage

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"ferry/internal/deploy"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// Live starts, stops or restarts a VM. wait is how long it waits for the VM's
// lock.
func (h *Host) Live(ctx context.Context, n microvm.Name, verb hostapi.Action, wait time.Duration) (hostapi.Life, error) {
	var l hostapi.Life
	args := append([]string{string(verb)}, claim(wait)...)
	return l, h.Run(ctx, string(n), &l, append(args, string(n))...)
}

// claim are the words that say who wants the VM's lock.
func claim(wait time.Duration) []string {
	words := []string{"--by", deploy.Operator()}
	if wait > 0 {
		words = append(words, "--wait="+wait.String())
	}
	return words
}

// Logs hands on the journal of a VM.
func (h *Host) Logs(ctx context.Context, n microvm.Name, last int, follow bool, each func(hostapi.LogLine) error) error {
	args := []string{"logs", "-n", strconv.Itoa(last)}
	lines := &reading{h: h, subject: string(n), maxAnswers: last, each: func(answer json.RawMessage) error {
		var line hostapi.LogLine
		if err := json.Unmarshal(answer, &line); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", h, err)
		}
		return each(line)
	}}
	if follow {
		args = append(args, "--follow")
		lines.maxAnswers = 0
	}
	return h.stream(ctx, lines, append(args, string(n)))
}

// History is the end of a VM's history.
func (h *Host) History(ctx context.Context, n microvm.Name, last int) (hostapi.History, error) {
	var history hostapi.History
	return history, h.Run(ctx, string(n), &history, "history", "-n", strconv.Itoa(last), string(n))
}

// Generations are a VM's installed runners.
func (h *Host) Generations(ctx context.Context, n microvm.Name) ([]hostapi.Generation, error) {
	var gens []hostapi.Generation
	return gens, h.Run(ctx, string(n), &gens, "generations", string(n))
}

// Diff compares two generations; see Diff of internal/host/manage.
func (h *Host) Diff(ctx context.Context, n microvm.Name, numbers ...int) (hostapi.Diff, error) {
	args := []string{"diff", string(n)}
	for _, number := range numbers {
		args = append(args, strconv.Itoa(number))
	}
	var d hostapi.Diff
	return d, h.Run(ctx, string(n), &d, args...)
}

// LookRemove tells what there is of a VM to be removed.
func (h *Host) LookRemove(ctx context.Context, n microvm.Name) (hostapi.Removal, error) {
	var r hostapi.Removal
	return r, h.Run(ctx, string(n), &r, "remove", "--look", string(n))
}

// Remove removes a VM; see Remove of internal/host/manage.
func (h *Host) Remove(ctx context.Context, n microvm.Name, keepData bool, wait time.Duration) (hostapi.Removal, error) {
	args := append([]string{"remove"}, claim(wait)...)
	if keepData {
		args = append(args, "--keep-data")
	}
	var r hostapi.Removal
	return r, h.Run(ctx, string(n), &r, append(args, string(n))...)
}

// VM is what the flake's `ferry` output says of a VM; nothing where it does not,
// or can't be asked.
func (m *Manager) VM(ctx context.Context, n microvm.Name) flake.VM {
	if !m.hasFlake() {
		return flake.VM{}
	}
	fleet, err := m.Fleet(ctx)
	if err != nil {
		m.Report.Warn("the flake could not be asked for what it says of %s: %s", n, firstLine(err.Error()))
		return flake.VM{}
	}
	return fleet.VMs[n]
}

// RecordedTarget is the address of the guest in the last deployment that knew
// it, from the VM's history on the host; nil where none did.
func (h *Host) RecordedTarget(ctx context.Context, n microvm.Name) (*microvm.Address, error) {
	var recorded string
	if err := h.Run(ctx, string(n), &recorded, "target", string(n)); err != nil {
		return nil, err
	}
	if recorded == "" {
		return nil, nil
	}
	a, err := microvm.ParseAddress(recorded)
	if err != nil || a.Local {
		return nil, fmt.Errorf("the target that %s has recorded is not an address: %.80q", h, recorded)
	}
	return &a, nil
}
