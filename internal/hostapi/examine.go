package hostapi

import (
	"time"

	"ferry/internal/microvm"
)

// ExamineRequest asks for what a deployment to this host would meet. Nothing is
// changed for it, and no look takes long. The answer is an Examined.
type ExamineRequest struct {
	// Door is where a guest takes SSH connections, if that is to be tried from here.
	Door *GuestDoor `json:"door,omitempty"`
	// Seconds is how long the looks may take together; 0: as the host thinks right.
	Seconds int `json:"seconds,omitempty"`
}

// Examined is a host as it is, without a verdict. What could not be found out is
// empty, and Unknown says why, by the names of Looks.
type Examined struct {
	Now     time.Time         `json:"now,omitzero"` // the host's clock
	Unknown map[string]string `json:"unknown,omitempty"`

	NixOS   bool          `json:"nixos,omitempty"`
	Systemd string        `json:"systemd,omitempty"` // its version
	Nix     ExaminedNix   `json:"nix,omitzero"`
	Disks   []Disk        `json:"disks,omitempty"`
	KVM     ExaminedKVM   `json:"kvm,omitzero"`
	SSHD    ExaminedSSHD  `json:"sshd,omitzero"`
	Setup   ExaminedSetup `json:"setup,omitzero"`
	Unit    ExaminedUnit  `json:"unit,omitzero"`
	State   ExaminedState `json:"state,omitzero"`
	Left    ExaminedLeft  `json:"left,omitzero"`
	VMs     []ExaminedVM  `json:"vms,omitempty"`
	Newest  ExaminedPath  `json:"newest,omitzero"`
	Door    ExaminedDoor  `json:"door,omitzero"`
}

// What Examined is made of, each found out on its own.
const (
	LookSystemd = "systemd"
	LookNix     = "nix"
	LookDisks   = "disks"
	LookKVM     = "kvm"
	LookSSHD    = "sshd"
	LookSetup   = "setup"
	LookUnit    = "unit"
	LookState   = "state"
	LookLeft    = "left"
	LookVMs     = "vms"
	LookNewest  = "newest"
	LookDoor    = "door"
)

// ExaminedNix is the host's Nix, as the helper finds it.
type ExaminedNix struct {
	Version string `json:"version,omitempty"` // the line that it prints
	// Missing: there is none, neither on the PATH nor where it is installed.
	Missing bool `json:"missing,omitempty"`
	// OnPath: nix-daemon is on the PATH of commands over SSH, which other machines'
	// Nix starts there.
	OnPath bool `json:"onPath,omitempty"`
	// Socket: the daemon's is there; Daemon: somebody answers at it.
	Socket       bool     `json:"socket,omitempty"`
	Daemon       bool     `json:"daemon,omitempty"`
	TrustedUsers []string `json:"trustedUsers,omitempty"`
}

// Disk is the file system of one of the host's directories.
type Disk struct {
	Use  string `json:"use"` // store, state or ferry
	Path string `json:"path"`
	// ReadOnly: nothing can be written there, by root either.
	ReadOnly   bool   `json:"readOnly,omitempty"`
	Free       uint64 `json:"free"` // bytes
	Size       uint64 `json:"size"`
	FreeInodes uint64 `json:"freeInodes"`
	Inodes     uint64 `json:"inodes"`        // 0: the file system doesn't count them
	Why        string `json:"why,omitempty"` // it is not known
}

// ExaminedKVM is /dev/kvm.
type ExaminedKVM struct {
	Present bool `json:"present,omitempty"`
	// Group: the group kvm, in which VMs run, may use it.
	Group bool   `json:"group,omitempty"`
	Mode  string `json:"mode,omitempty"`
}

// ExaminedSSHD is what `sshd -T` says.
type ExaminedSSHD struct {
	MaxSessions int    `json:"maxSessions,omitempty"`
	MaxStartups string `json:"maxStartups,omitempty"` // start:rate:full
}

// ExaminedSetup is what `ferry host setup` would do.
type ExaminedSetup struct {
	Outcome string          `json:"outcome,omitempty"` // of a dry run
	Refused string          `json:"refused,omitempty"` // why it would do nothing
	Changes []ExaminedThing `json:"changes,omitempty"`
}

// ExaminedThing is something that setup would make, change, or leave though it is
// not as it should be.
type ExaminedThing struct {
	Verb string `json:"verb"`
	Kind string `json:"kind"`
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
}

// ExaminedUnit is how VMs are run here.
type ExaminedUnit struct {
	File    string   `json:"file,omitempty"` // of microvm@.service; empty: there is none
	DropIns []string `json:"dropIns,omitempty"`
	// Waits: a stop by systemd waits for the guest's own shutdown.
	Waits bool `json:"waits,omitempty"`
	// Settle: ferry-settle.service is there, and starts with the host.
	Settle bool     `json:"settle,omitempty"`
	Failed []string `json:"failed,omitempty"` // units of ferry's that failed
	User   bool     `json:"user,omitempty"`   // microvm is there
	Group  bool     `json:"group,omitempty"`  // kvm is there
}

// ExaminedState is the state directory.
type ExaminedState struct {
	Path string `json:"path,omitempty"`
	Mode string `json:"mode,omitempty"` // owner and permissions
	// Protected: only root can put anything in the place of a VM.
	Protected bool `json:"protected,omitempty"`
	// Strays are what of VMs' directories is not root's where it should be, in words.
	Strays []string `json:"strays,omitempty"`
}

// ExaminedLeft is what deployments have left behind.
type ExaminedLeft struct {
	Notes    []LeftNote `json:"notes,omitempty"`
	Dangling []string   `json:"dangling,omitempty"` // roots that lead to nothing
	Helpers  int        `json:"helpers,omitempty"`  // versions kept for the next deployment
	Uploads  []string   `json:"uploads,omitempty"`  // that were cut off
}

// LeftNote is the note of a deployment that has not ended.
type LeftNote struct {
	VM         microvm.Name `json:"vm"`
	Deployment string       `json:"deployment"`
	By         string       `json:"by,omitempty"`
	Started    time.Time    `json:"started,omitzero"`
	Working    bool         `json:"working,omitempty"` // somebody is at work on it
	Why        string       `json:"why,omitempty"`     // it is not settled yet
}

// ExaminedVM is one VM of the host.
type ExaminedVM struct {
	Name    microvm.Name      `json:"name"`
	State   string            `json:"state,omitempty"`
	Running microvm.StorePath `json:"running,omitempty"` // the system, as far as the host knows
	// HostName is what the system that runs calls itself; empty: not known.
	HostName string `json:"hostName,omitempty"`
	// Store is StoreShared or StoreOwn; empty: not known.
	Store string `json:"store,omitempty"`
	// Declared: by the host's own configuration.
	Declared bool `json:"declared,omitempty"`
	// Problem is why ferry would not touch it.
	Problem string `json:"problem,omitempty"`
}

// Where a guest has its store from.
const (
	StoreShared = "host"
	StoreOwn    = "own"
)

// ExaminedPath is a path of the store, and when it came there.
type ExaminedPath struct {
	Path microvm.StorePath `json:"path,omitempty"`
	At   time.Time         `json:"at,omitzero"`
}

// ExaminedDoor is what came of a try to reach the guest.
type ExaminedDoor struct {
	Asked   string `json:"asked,omitempty"` // the address; empty: nothing was tried
	Reached bool   `json:"reached,omitempty"`
	Why     string `json:"why,omitempty"`
}
