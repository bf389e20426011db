package hostapi

import (
	"encoding/json"
	"reflect"
	"strings"

	"ferry/internal/microvm"
)

// Commands are the requests besides a deployment's. Each stands alone: none needs
// another before it, or leaves something that the session holds.
type Commands struct {
	List         *ListRequest         `json:"list,omitempty"`
	Start        *LifeRequest         `json:"start,omitempty"`
	Stop         *LifeRequest         `json:"stop,omitempty"`
	Restart      *LifeRequest         `json:"restart,omitempty"`
	Remove       *RemoveRequest       `json:"remove,omitempty"`
	Autostart    *AutostartRequest    `json:"autostart,omitempty"`
	Logs         *LogsRequest         `json:"logs,omitempty"`
	History      *HistoryRequest      `json:"history,omitempty"`
	Generations  *GenerationsRequest  `json:"generations,omitempty"`
	Diff         *DiffRequest         `json:"diff,omitempty"`
	Target       *TargetRequest       `json:"target,omitempty"`
	Registration *RegistrationRequest `json:"registration,omitempty"`
	Setup        *SetupRequest        `json:"setup,omitempty"`
	Timers       *TimersRequest       `json:"timers,omitempty"`
	Examine      *ExamineRequest      `json:"examine,omitempty"`
}

// ListRequest asks for the VMs of the host, a Listed in each item.
type ListRequest struct {
	// Check compares them with what their `flake` files yield, but for those that
	// are excepted.
	Check  bool     `json:"check,omitempty"`
	Except []string `json:"except,omitempty"`
}

// LifeRequest starts, stops or restarts a VM under its lock. The answer is a Life.
type LifeRequest struct {
	Name        microvm.Name `json:"name"`
	By          string       `json:"by"`                    // user@machine
	WaitSeconds int          `json:"waitSeconds,omitempty"` // for the lock
}

// RemoveRequest stops a VM and removes all of it. The answer is a Removal.
type RemoveRequest struct {
	LifeRequest
	Look     bool `json:"look,omitempty"`     // only say what there is
	KeepData bool `json:"keepData,omitempty"` // leave what is not ferry's in its directory
}

// AutostartRequest sets whether a VM starts with the host. The answer is an
// Autostarted.
type AutostartRequest struct {
	Name microvm.Name `json:"name"`
	On   bool         `json:"on"`
}

// LogsRequest asks for the end of a VM's journal, a LogLine in each item, and with
// Follow for what comes later, until the session ends.
type LogsRequest struct {
	Name   microvm.Name `json:"name"`
	Lines  int          `json:"lines"`
	Follow bool         `json:"follow,omitempty"`
}

// HistoryRequest asks for the last entries of a VM's history. The answer is a
// History.
type HistoryRequest struct {
	Name microvm.Name `json:"name"`
	Last int          `json:"last"`
}

// GenerationsRequest asks for a VM's generations: a list of Generation.
type GenerationsRequest struct {
	Name microvm.Name `json:"name"`
}

// DiffRequest compares two generations of a VM, or one with the current one, or the
// current one with the one before. The answer is a Diff.
type DiffRequest struct {
	Name        microvm.Name `json:"name"`
	Generations []int        `json:"generations,omitempty"`
}

// TargetRequest asks for the address of the system inside a VM in the last
// deployment that knew it: a string, empty where none did.
type TargetRequest struct {
	Name microvm.Name `json:"name"`
}

// RegistrationRequest asks what a system's closure is registered with in Nix's
// database; the items are the text in pieces, strings.
type RegistrationRequest struct {
	System microvm.StorePath `json:"system"`
}

// SetupRequest makes the machine a host, or undoes that. The answer is a report.
type SetupRequest struct {
	Remove bool `json:"remove,omitempty"`
	DryRun bool `json:"dryRun,omitempty"`
}

// TimersRequest asks for the host's timers, or with Set sets one. The answer is a
// list of their states, or a report.
type TimersRequest struct {
	Set json.RawMessage `json:"set,omitempty"`
}

// Kinds are what a request may be, in the order of their fields.
func Kinds() []string {
	kinds, _ := kinds(reflect.ValueOf(Request{}))
	return kinds
}

// Kinds are those of the request: there should be one.
func (r Request) Kinds() []string {
	_, set := kinds(reflect.ValueOf(r))
	return set
}

// kinds are the names of the pointers in a struct, and of those that are not nil.
func kinds(v reflect.Value) (all, set []string) {
	for i := range v.NumField() {
		field, f := v.Type().Field(i), v.Field(i)
		switch {
		case field.Anonymous:
			more, moreSet := kinds(f)
			all, set = append(all, more...), append(set, moreSet...)
		case f.Kind() == reflect.Pointer:
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			all = append(all, name)
			if !f.IsNil() {
				set = append(set, name)
			}
		}
	}
	return all, set
}
