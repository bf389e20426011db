package host

import "ferry/internal/host/units"

// Units are the systemd unit files a host needs, sorted by name.
func Units() []units.Unit { return units.All() }
