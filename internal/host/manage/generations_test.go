package manage

import (
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

func TestDiff(t *testing.T) {
	h := twoGenerations(t)
	mem := func(mib int) *microvm.Record { return &microvm.Record{Name: web, Mem: &mib} }
	for runner, rec := range map[microvm.StorePath]*microvm.Record{hosttest.RunnerA: mem(512), hosttest.RunnerB: mem(768)} {
		if err := h.Layout.VM(web).Notes().PutRecord(runner, rec); err != nil {
			t.Fatal(err)
		}
	}
	for _, numbers := range [][]int{nil, {1}, {1, 2}} {
		d, err := machine(h).Diff(t.Context(), web, numbers...)
		if err != nil || d.From.Number != 1 || d.To.Number != 2 || d.Same || !d.ConfigurationOnly {
			t.Fatalf("%v: %+v, %v", numbers, d, err)
		}
		if len(d.Hardware) != 1 || d.Hardware[0] != "memory 512 → 768 MiB" {
			t.Errorf("%v: hardware %q", numbers, d.Hardware)
		}
	}
	if d, err := machine(h).Diff(t.Context(), web, 2); err != nil || !d.Same {
		t.Errorf("with itself: %+v, %v", d, err)
	}
	if _, err := machine(h).Diff(t.Context(), web, 9); !hostapi.IsRefused(err) {
		t.Errorf("with nothing: %v", err)
	}
}
