package flake

import (
	"encoding/json"
	"testing"

	"ferry/internal/microvm"
)

// What an evaluation yields is as the flake wants it. A record that is accepted
// names derivations, and nothing else is built or copied.
func FuzzOutputs(f *testing.F) {
	const drv = `/nix/store/00000000000000000000000000000000-x.drv`
	f.Add(`{"vms":{"web":{"record":{"name":"web","runner":{"drv":"` + drv + `"}}}},"ferry":{"vms":{}}}`)
	f.Add(`{"vms":{"web":{"record":{"name":"web","runner":{"drv":"/nix/store/../etc"}}}}}`)
	f.Add(`{"vms":{"web":{"missing":["a"],"obstacle":"x"}},"ferry":[]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var out outputs
		if json.Unmarshal([]byte(text), &out) != nil {
			return
		}
		_, _, _ = DecodeFleet(out.Ferry)
		// The same from another machine, which may be anybody's.
		if ev, err := DecodeEvaluation([]byte(text), ".", "web"); err == nil && (ev == nil || !ev.Record.Runner.Drv.IsDerivation()) {
			t.Errorf("%s became %+v", text, ev)
		}
		for _, vm := range out.VMs {
			if vm.Record == nil {
				continue
			}
			drvs, err := derivations(vm.Record)
			if err != nil {
				continue
			}
			for _, d := range drvs {
				if _, err := microvm.ParseStorePath(string(d)); err != nil || !d.IsDerivation() {
					t.Errorf("%s: %q", text, d)
				}
			}
			_ = vm.Record.LiveObstacle()
		}
	})
}
