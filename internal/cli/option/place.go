package option

import "github.com/spf13/cobra"

// Place says where a VM or a host is, for the commands that deploy nothing.
type Place struct {
	Flake    string
	Host     string
	HostSudo bool
	Nix      Nix
}

// AddFlags is for commands that name a VM.
func (o *Place) AddFlags(cmd *cobra.Command) {
	o.AddHostFlag(cmd)
	o.AddFlakeFlags(cmd)
}

// AddHostFlag is for commands that name a VM and have another -f.
func (o *Place) AddHostFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.Host, "host", "", "the VM's host: an address, a name of ferry.hosts, or local (default: the flake's ferry.vms.NAME.host)")
}

// AddFlakeFlags is for commands that name hosts as arguments.
func (o *Place) AddFlakeFlags(cmd *cobra.Command) { o.AddFlakeFlagsAs(cmd, "f") }

// AddFlakeFlagsAs is for commands where -f is another option.
func (o *Place) AddFlakeFlagsAs(cmd *cobra.Command, letter string) {
	fs := cmd.Flags()
	fs.StringVarP(&o.Flake, "flake", letter, ".", "the flake whose ferry output names hosts and VMs; asked only where needed")
	fs.BoolVar(&o.HostSudo, "host-sudo", false, "become root on the host with sudo")
	o.Nix.AddFlags(fs)
}
