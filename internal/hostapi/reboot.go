package hostapi

import (
	"net"
	"strconv"
	"time"

	"ferry/internal/microvm"
)

// GuestDoor is where a guest takes SSH connections, as the operator's ssh reaches it.
type GuestDoor struct {
	Host string `json:"host"` // an address, or a name
	Port int    `json:"port"`
	// NoRestart: the user wants the unit never to be restarted.
	NoRestart bool `json:"noRestart,omitempty"`
}

// Address is for dialling, and for people.
func (d GuestDoor) Address() string { return net.JoinHostPort(d.Host, strconv.Itoa(d.Port)) }

// RebootRequest restarts the unit of a VM whose guest has had its time to undo a live
// switch and is out of reach, as a last resort and at most once in a deployment. The
// host does it only where it could connect to the guest when the deployment began,
// and can't for RebootQuiet now; otherwise it only says so.
type RebootRequest struct {
	Name microvm.Name `json:"name"`
	ID   string       `json:"id"` // of the deployment
	// Ran is what the guest ran before the switch; empty: what the host knows.
	Ran microvm.StorePath `json:"ran,omitempty"`
	// Seconds is how long the guest may take to boot.
	Seconds int `json:"seconds,omitempty"`
}

// RebootQuiet is how long a guest must be out of the host's reach.
const RebootQuiet = time.Minute

// Rebooted answers a RebootRequest.
type Rebooted struct {
	// Before: when the deployment began, the host could connect to the guest.
	Before bool `json:"before,omitempty"`
	// Reached: it can now.
	Reached bool `json:"reached,omitempty"`
	// Restarted: the unit was restarted with Runner, which has System inside.
	Restarted bool              `json:"restarted,omitempty"`
	Runner    microvm.StorePath `json:"runner,omitempty"`
	System    microvm.StorePath `json:"system,omitempty"`
	// Ran is what the guest ran before, as far as anybody knows.
	Ran microvm.StorePath `json:"ran,omitempty"`
	// Why says in words what was booted and how that differs from what ran, or why
	// nothing was restarted.
	Why string `json:"why,omitempty"`
}
