//go:build model && linux

package host

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// smallRuns is how many histories are tried on a small disk.
var smallRuns = flag.Int("model.small", 150, "how many random histories are tried on a disk that gets full")

// TestRandomHistoriesOnASmallDisk is TestRandomHistories with a disk that may be full
// at any time. Its environment has what the process on that disk is to try.
func TestRandomHistoriesOnASmallDisk(t *testing.T) {
	const seedVar, runsVar, traceVar = "FERRY_MODEL_SEED", "FERRY_MODEL_RUNS", "FERRY_MODEL_TRACE"
	if os.Getenv(seedVar) == "" {
		seed := *modelSeed
		if seed == 0 {
			seed = uint64(time.Now().UnixNano())
		}
		t.Logf("seeds from %d: repeat one with -model.small=1 -model.seed=SEED -model.trace", seed)
		t.Setenv(seedVar, fmt.Sprint(seed))
		t.Setenv(runsVar, fmt.Sprint(*smallRuns))
		t.Setenv(traceVar, fmt.Sprint(*modelTrace))
	}
	if !hosttest.SmallDisk(t) {
		return
	}
	seed, _ := strconv.ParseUint(os.Getenv(seedVar), 10, 64)
	runs, _ := strconv.ParseUint(os.Getenv(runsVar), 10, 64)
	*modelTrace = os.Getenv(traceVar) == "true"
	for i := range runs {
		if !t.Run(fmt.Sprint(seed+i), func(t *testing.T) { tryHistory(t, seed+i, true) }) {
			t.Fatalf("seed %d failed", seed+i)
		}
	}
}

// modelDisk is the host's disk, where it may get full.
type modelDisk struct {
	small bool
	give  func() // nil: there is space
}

func (d *modelDisk) free() {
	if d.give != nil {
		d.give()
		d.give = nil
	}
}

func (m *model) fill() {
	if _, err := os.Stat(m.h.Layout.Lib); err == nil && m.disk.small && m.disk.give == nil {
		m.disk.give = m.h.Fill()
		m.say("the disk is full")
	}
}

// between is what others do between two steps of ferry.
func (m *model) between() {
	if m.disk.give != nil {
		m.h.Refill()
	}
	if m.meddling || !m.chance(2) {
		return
	}
	m.meddling = true
	if m.chance(70) {
		m.microvmUpdate()
	} else {
		m.fill()
	}
	m.meddling = false
}

// lookout finds the guest where it is in reach.
func (m *model) lookout() lookout {
	silent := m.silent
	return lookout{quietFor: time.Nanosecond, pause: time.Nanosecond, try: func(context.Context, hostapi.GuestDoor) error {
		if silent = silent && m.silent; silent || m.silent {
			return errors.New("no route to host")
		}
		return nil
	}}
}

func (m *model) door(how hostapi.Activation) *hostapi.GuestDoor {
	if how != hostapi.ActivateLive {
		return nil
	}
	return &hostapi.GuestDoor{Host: "10.0.0.5", Port: 22}
}

// lastResort: the guest has gone back, and is out of reach.
func (m *model) lastResort(s *session, id string) {
	m.silent = true
	current := m.link("current")
	m.legit = append(m.legit, m.link("booted"), current)
	ran := []microvm.StorePath{"", systemOf(m.link("booted")), systemOf(current)}[m.rng.IntN(3)]
	answer, err := m.ask(s, hostapi.Request{Reboot: &hostapi.RebootRequest{Name: web, ID: id, Ran: ran, Seconds: 1}})
	m.say("  last resort: %+v, %v", answer, err)
	m.silent = false
	if err == nil && m.chance(50) {
		_, _ = m.ask(s, hostapi.Request{Finish: &hostapi.FinishRequest{Name: web, Outcome: hostapi.OutcomeRolledBack}})
	}
}

// startUnsaid: there is a deployment whose start of the unit, if it was made, is not
// noted, nor one of its undo.
func (m *model) startUnsaid() bool {
	left := m.h.Layout.VM(web).Notes().Left()
	return left != nil && (left.Phase == hostapi.PhaseRestart || left.Phase == hostapi.PhaseUndo) && left.Invocation == "" && left.UndoStarted == nil
}

// newerNote has a later ferry take a deployment over, and olderNote go away.
func (m *model) newerNote(left *vmstate.Note) {
	left.Version, left.Helper = vmstate.NoteVersion+1, nil
	if err := m.h.Layout.VM(web).Notes().PutDeployment(left); err == nil {
		m.say("the note of %s is of a later ferry", left.ID)
	}
}

func (m *model) olderNote() {
	notes := m.h.Layout.VM(web).Notes()
	left := notes.Left()
	if left == nil || left.Version <= vmstate.NoteVersion {
		return
	}
	left.Version = vmstate.NoteVersion
	if err := notes.PutDeployment(left); err != nil {
		m.t.Fatal(err)
	}
	m.say("the note of %s is of this ferry again", left.ID)
}
