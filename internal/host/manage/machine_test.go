package manage

import (
	"context"
	"errors"
	"path/filepath"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/inventory"
	"ferry/internal/host/vmstate"
	"ferry/internal/microvm"
)

const web = hosttest.Web

func machine(h *hosttest.Host) *Machine {
	settled := func(context.Context, microvm.Name, func(string)) error { return nil }
	return New(&inventory.Observer{Layout: h.Layout, Units: h.Units}, h.Units, h.Nix, settled)
}

// template is the file that every VM's unit is made from, wants the directory of
// what starts with the host.
func template(h *hosttest.Host) string { return filepath.Join(h.Layout.Units, "microvm@.service") }
func wants(h *hosttest.Host) string    { return filepath.Join(h.Layout.Units, "microvms.target.wants") }

// liveSwitch leaves what a live switch to a system leaves.
func liveSwitch(h *hosttest.Host, system microvm.StorePath) error {
	guest := h.Layout.VM(web).Guest()
	return errors.Join(guest.MakeRoots(), h.Nix.AddRoot(h.T.Context(), guest.Root(), system),
		guest.PutRunning(vmstate.Running{System: system, InvocationID: h.Units.State.InvocationID}))
}
