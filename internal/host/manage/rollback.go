package manage

import (
	"context"

	"ferry/internal/hostapi"
	"ferry/internal/runner"
)

// RollbackTarget finds what a rollback goes back to.
func (m *Machine) RollbackTarget(ctx context.Context, req hostapi.RollbackRequest) (*hostapi.RollbackTarget, error) {
	vm, err := m.see.Locate(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	if !vm.Exists {
		return nil, m.see.NoVM(req.Name)
	}
	gens, err := m.generations(req.Name, vm)
	if err != nil {
		return nil, err
	}
	disk := m.see.VM(req.Name)
	t := &hostapi.RollbackTarget{}
	if req.To != 0 {
		t.Generation, err = pick(gens, req.Name, req.To)
	} else {
		t.Generation, err = previous(gens, req.Name, disk.Profile().Current())
	}
	if err != nil {
		return nil, err
	}
	r, err := runner.Open(m.see.Layout.Root, t.Generation.Runner)
	if err != nil {
		return nil, err
	}
	t.HostName, t.Record = r.HostName(), disk.Notes().Record(t.Generation.Runner)
	t.Target, t.TargetSudo = disk.History().Target()
	return t, nil
}
