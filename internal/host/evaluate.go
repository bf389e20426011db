package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/trouble"
)

const maxEvalLog = 40 // lines of Nix's that an error shows

// evaluate runs as root, as a build does that is asked for by root: the flake is
// the operator's, who may run anything as root here.
func (d obtaining) evaluate(ctx context.Context, req hostapi.EvaluateRequest) (*hostapi.Evaluated, error) {
	source, _, _ := strings.Cut(strings.TrimPrefix(req.Flake, "path:"), "?")
	if _, err := microvm.ParseStorePath(source); err != nil || !strings.HasPrefix(req.Flake, "path:") {
		return nil, hostapi.Refuse(fmt.Sprintf("%.120q is not a flake in the store", req.Flake), "")
	}
	options, remove, err := withLocks(req)
	if err != nil {
		return nil, err
	}
	defer remove()
	out, err := d.srv.nix.Eval(ctx, nix.EvalRequest{Installable: req.Flake + "#.", Apply: req.Expression, Options: options})
	if err != nil {
		return nil, evalFailure(err)
	}
	if err := d.keepEvaluated(out); err != nil {
		return nil, err
	}
	return &hostapi.Evaluated{Output: out}, nil
}

// withLocks puts the locks into a file, for Nix to read instead of the flake's
// own lock file, which may be older.
func withLocks(req hostapi.EvaluateRequest) (options []string, remove func(), err error) {
	options = append([]string{"--no-write-lock-file"}, req.Options...)
	if len(req.Locks) == 0 {
		return options, func() {}, nil
	}
	f, err := os.CreateTemp("", "ferry-lock-")
	if err != nil {
		return nil, nil, fmt.Errorf("writing the flake's locks: %w", err)
	}
	remove = func() { _ = os.Remove(f.Name()) }
	_, err = f.Write(req.Locks)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("writing the flake's locks: %w", err)
	}
	return append(options, "--reference-lock-file", f.Name()), remove, nil
}

// keepEvaluated roots the runner's derivation beside what is pending: nothing
// else keeps it until it is built.
func (d obtaining) keepEvaluated(out []byte) error {
	var said struct {
		VMs map[string]struct {
			Record *microvm.Record `json:"record"`
		} `json:"vms"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return fmt.Errorf("reading what was evaluated: %w", err)
	}
	for _, vm := range said.VMs {
		if vm.Record == nil || !vm.Record.Runner.Drv.IsDerivation() {
			continue
		}
		if err := d.vm.Roots().ExpectEvaluated(vm.Record.Runner.Drv); err != nil {
			return err
		}
	}
	return nil
}

func evalFailure(err error) error {
	var fe *nix.EvalFailure
	if !errors.As(err, &fe) {
		return err
	}
	return &hostapi.Failure{
		Kind: hostapi.KindFailed, Message: "evaluating on the host failed", Log: fe.Stderr[max(0, len(fe.Stderr)-maxEvalLog):],
		Hint: "without --eval-on host it is evaluated here", See: trouble.EvaluationFailed,
	}
}
