package hostapi

import (
	"testing"

	"ferry/internal/microvm"
)

const (
	runnerA = microvm.StorePath("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-microvm-qemu-web")
	runnerB = microvm.StorePath("/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-microvm-qemu-web")
	systemA = microvm.StorePath("/nix/store/1111111111111111111111111111111a-nixos-system-web")
	systemB = microvm.StorePath("/nix/store/2222222222222222222222222222222b-nixos-system-web")
)

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		record microvm.Record
		want   Freshness
	}{
		"same":              {microvm.Record{Runner: microvm.Output{Out: runnerA}}, FreshCurrent},
		"other":             {microvm.Record{Runner: microvm.Output{Out: runnerB}}, FreshOutdated},
		"content-addressed": {microvm.Record{System: &microvm.Output{Out: systemA}}, FreshCurrent},
		"its system":        {microvm.Record{System: &microvm.Output{Out: systemB}}, FreshOutdated},
	} {
		v := Listed{Current: runnerA, CurrentSystem: systemA, Fresh: FreshCurrent}
		if v.Compare(c.record); v.Fresh != c.want {
			t.Errorf("%s: %s", name, v.Fresh)
		}
	}
}
