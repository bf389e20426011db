package hostapi

import (
	"time"

	"ferry/internal/microvm"
)

// The verbs of a VM's life, also the words of the history.
const (
	ActionStart   Action = "start"
	ActionStop    Action = "stop"
	ActionRestart Action = "restart"
)

// Life is what became of a VM's unit.
type Life struct {
	VM      microvm.Name      `json:"vm"`
	Outcome string            `json:"outcome"` // started, stopped, restarted or unchanged
	Unit    UnitState         `json:"unit"`
	Booted  microvm.StorePath `json:"booted,omitempty"` // the runner that runs
	// Killed: the guest did not shut down in the time that its unit gives it.
	Killed  bool    `json:"killed,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Removal is what there is of a VM to be removed, or what was.
type Removal struct {
	VM        microvm.Name `json:"vm"`
	Directory string       `json:"directory,omitempty"` // empty where there is none
	Running   bool         `json:"running"`
	// Data are the files and directories in the VM's directory that neither
	// ferry nor microvm.nix made: volumes, and whatever the VM wrote there.
	Data    []DataFile `json:"data"`
	Kept    bool       `json:"kept,omitempty"` // the data was kept
	Removed bool       `json:"removed"`
}

// DataFile is an entry of a VM's directory.
type DataFile struct {
	Name      string `json:"name"`
	Bytes     int64  `json:"bytes"` // on disk; of a directory: all in it
	Directory bool   `json:"directory,omitempty"`
}

// LogLine is one entry of the journal of a VM's unit or one of its helpers.
type LogLine struct {
	Time time.Time `json:"time"`
	Unit string    `json:"unit"`
	Line string    `json:"line"`
}

// Diff is what differs between two generations of a VM.
type Diff struct {
	VM   microvm.Name `json:"vm"`
	From Generation   `json:"from"`
	To   Generation   `json:"to"`
	// Changes are lines of `nix store diff-closures`. ConfigurationOnly: the
	// system differs, but no package does.
	Changes           []string `json:"changes"`
	ConfigurationOnly bool     `json:"configurationOnly,omitempty"`
	Hardware          []string `json:"hardware"`
	Same              bool     `json:"same"` // nothing differs
}

// Autostarted says whether a VM starts with its host.
type Autostarted struct {
	VM      microvm.Name `json:"vm"`
	On      bool         `json:"on"`
	Changed bool         `json:"changed"`
}

// Generation is one installed runner of a VM.
type Generation struct {
	Number  int               `json:"generation"`
	Runner  microvm.StorePath `json:"runner"`
	System  microvm.StorePath `json:"system,omitempty"`
	Made    time.Time         `json:"made"`
	Current bool              `json:"current,omitempty"` // what the next boot brings
	Booted  bool              `json:"booted,omitempty"`  // what the unit was started with
	Running bool              `json:"running,omitempty"` // its system runs in the guest, as far as the host knows
}
