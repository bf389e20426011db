package microvm

// Record is what evaluation tells of a VM, from
// FLAKE#nixosConfigurations.NAME (internal/flake/record.nix). Only Runner is
// always there: a configuration may export nothing but
// config.microvm.declaredRunner. A nil pointer or empty value means that the
// configuration does not say.
type Record struct {
	Name     Name   `json:"name"`
	HostName string `json:"hostName,omitempty"` // networking.hostName

	Runner Output  `json:"runner"`
	System *Output `json:"system,omitempty"`

	Hypervisor string      `json:"hypervisor,omitempty"`
	Mem        *int        `json:"mem,omitempty"` // MiB
	VCPU       *int        `json:"vcpu,omitempty"`
	Volumes    []Volume    `json:"volumes,omitempty"`
	Shares     []Share     `json:"shares,omitempty"`
	Interfaces []Interface `json:"interfaces,omitempty"`
	Kernel     string      `json:"kernel,omitempty"` // store path; not necessarily built
	Initrd     string      `json:"initrd,omitempty"`
	VsockCID   *int        `json:"vsockCid,omitempty"`

	SSH           *bool `json:"ssh,omitempty"`           // services.openssh.enable
	SwitchEnabled *bool `json:"switchEnabled,omitempty"` // system.switch.enable
	// SwitchInhibitors is system.switch.inhibitors: NixOS refuses to switch between
	// systems that both name one and disagree.
	SwitchInhibitors map[string]string `json:"switchInhibitors,omitempty"`

	// What is read at each start and may change though the runner stays the same:
	// the names in microvm.credentialFiles, and whether there is a
	// microvm.extraArgsScript.
	CredentialFiles []string `json:"credentialFiles,omitempty"`
	ExtraArgsScript bool     `json:"extraArgsScript,omitempty"`
}

// Output names one output of a derivation. Out is empty for content-addressed
// derivations, whose output is known only once built.
type Output struct {
	Drv StorePath `json:"drv"`
	Out StorePath `json:"out,omitempty"`
}

// Volume is one of microvm.volumes.
type Volume struct {
	Image      string `json:"image"`
	MountPoint string `json:"mountPoint,omitempty"`
	Size       *int   `json:"size,omitempty"` // MiB
}

// Share is one of microvm.shares.
type Share struct {
	Tag        string `json:"tag"`
	Proto      string `json:"proto"` // 9p or virtiofs
	Source     string `json:"source"`
	MountPoint string `json:"mountPoint,omitempty"`
}

// Interface is one of microvm.interfaces.
type Interface struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	MAC  string `json:"mac,omitempty"`
}

// SharesStore reports whether the host's /nix/store is one of the shares.
func (r *Record) SharesStore() bool {
	for _, s := range r.Shares {
		if s.Source == StoreDir {
			return true
		}
	}
	return false
}

// LiveObstacle says why the system inside cannot be switched while it runs, in
// words for the user; empty means that it can.
func (r *Record) LiveObstacle() string {
	switch {
	case r.System == nil:
		return "the configuration has no config.system.build.toplevel"
	case !r.SharesStore():
		return "the host's /nix/store is not one of its shares"
	case r.SSH == nil || !*r.SSH:
		return "services.openssh is not enabled"
	case r.SwitchEnabled != nil && !*r.SwitchEnabled:
		return "system.switch.enable is off"
	}
	return ""
}
