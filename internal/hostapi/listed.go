package hostapi

import (
	"fmt"

	"ferry/internal/microvm"
)

// State is what a VM does, in one word.
type State string

// The states. Unconfirmed: a deployment had begun to activate when it was cut
// off, so nobody knows what the guest runs. NoVM: a directory without `current`.
const (
	StateRunning     State = "running"
	StateStopped     State = "stopped"
	StateFailed      State = "failed"
	StateStarting    State = "starting"
	StateStopping    State = "stopping"
	StateUnconfirmed State = "unconfirmed"
	StateUnknown     State = "unknown" // systemd does not answer
	StateNoVM        State = "no VM"
)

// Freshness compares what runs with what is installed, and what is installed
// with the flake where that was asked.
type Freshness string

// The values of Freshness. Waits: what is installed differs from what runs.
// Outdated: the flake yields something else than what is installed.
const (
	FreshCurrent  Freshness = "current"
	FreshWaits    Freshness = "waits"
	FreshOutdated Freshness = "outdated"
	FreshUnknown  Freshness = "unknown"
)

// Listed is one entry of the state directory, as `ferry list` shows it.
type Listed struct {
	Name  string    `json:"name"` // of the directory; not necessarily a microvm.Name
	Dir   string    `json:"dir"`
	State State     `json:"state"`
	Fresh Freshness `json:"status"`
	// Waits is what of the installed runner does not run yet, and Activation
	// what would bring it: a live switch or a restart.
	Waits      []string   `json:"waits,omitempty"`
	Activation Activation `json:"activation,omitempty"`

	Current       microvm.StorePath `json:"current,omitempty"`
	CurrentSystem microvm.StorePath `json:"currentSystem,omitempty"`
	Booted        microvm.StorePath `json:"booted,omitempty"`
	BootedSystem  microvm.StorePath `json:"bootedSystem,omitempty"`
	Running       microvm.StorePath `json:"running,omitempty"` // system, as far as the host knows
	// Wanted is the runner that the flake yields, and WantedSystem what is in
	// it; CheckError says why that could not be found out. Only where asked.
	Wanted       microvm.StorePath `json:"wanted,omitempty"`
	WantedSystem microvm.StorePath `json:"wantedSystem,omitempty"`
	CheckError   string            `json:"checkError,omitempty"`

	Flake      string `json:"flake,omitempty"`
	FlakeError string `json:"flakeError,omitempty"` // why the `flake` file can't be used
	Generation int    `json:"generation,omitempty"` // 0: not installed by ferry
	Declared   bool   `json:"declared,omitempty"`   // by the host's own configuration
	Lock       *Lock  `json:"lock,omitempty"`       // a deployment is under way
	// Problems are what is wrong with the entry, in words.
	Problems []string `json:"problems,omitempty"`
}

// VM is the name to manage it by; false where the entry can't be managed.
func (v *Listed) VM() (microvm.Name, bool) {
	n, err := microvm.ParseName(v.Name)
	return n, err == nil && v.State != StateNoVM
}

// Compare notes what the flake yields for the VM.
func (v *Listed) Compare(r microvm.Record) {
	v.Wanted = r.Runner.Out
	if r.System != nil {
		v.WantedSystem = r.System.Out
	}
	switch {
	case v.Wanted != "" && v.Wanted == v.Current:
		return
	case v.Wanted == "" && v.WantedSystem != "" && v.WantedSystem == v.CurrentSystem:
		return // a content-addressed runner: its path is known once it is built
	}
	v.Fresh = FreshOutdated
}

func (v *Listed) Problem(format string, args ...any) {
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

// Weigh takes from a plan for the installed runner what does not run yet.
func (v *Listed) Weigh(p *Plan, recorded bool) {
	v.Fresh = FreshCurrent
	if p.Activation == ActivateNone && len(p.Waits) == 0 {
		return
	}
	v.Fresh, v.Activation = FreshWaits, ActivateRestart
	if v.Running != v.CurrentSystem || v.CurrentSystem == "" {
		v.Waits = append(v.Waits, "the system inside")
		// Without a record nobody knows whether the guest sees the host's store.
		if p.Activation == ActivateLive && recorded {
			v.Activation = ActivateLive
		}
	}
	v.Waits = append(append(v.Waits, p.Hardware...), p.Inhibitors...)
}
