package inventory

import (
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
)

// Underway lists the deployments that are asked for.
func Underway(l vmstate.Layout, req hostapi.UnderwayRequest) ([]hostapi.Underway, error) {
	vms, err := l.Noted()
	if err != nil {
		return nil, err
	}
	found := []hostapi.Underway{}
	for _, vm := range vms {
		if req.Name != "" && vm.Name() != req.Name {
			continue
		}
		if left := vm.Notes().Left(); left != nil && (req.ID == "" || left.ID == req.ID) {
			held := vm.Lock().Holder()
			found = append(found, hostapi.Underway{
				Name: vm.Name(), Deployment: left.Deployment, Phase: left.Phase,
				Working: held != nil && held.Deployment == left.ID,
			})
		} else if entry := ended(vm, req); entry != nil {
			found = append(found, hostapi.Underway{Name: vm.Name(), Deployment: entry.Deployment, Outcome: entry.Outcome})
		}
	}
	return found, nil
}

// ended is the entry of the deployment that is asked for, if it has ended.
func ended(vm vmstate.VM, req hostapi.UnderwayRequest) *hostapi.HistoryEntry {
	switch {
	case req.ID != "":
		return vm.History().Entry(req.ID)
	case req.Name == "":
		return nil
	}
	return vm.History().Last()
}
