package lab

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// The lab's network lives in a namespace of its own, so nothing of this
// machine's network is touched and nothing outside can be reached from it.
// Every machine is on one bridge with one subnet.
const (
	bridge       = "lab0"
	subnetPrefix = "10.23.0."
	gatewayAddr  = subnetPrefix + "1"
	operatorAddr = subnetPrefix + "2"
	bareAddr     = subnetPrefix + "3"
	builderAddr  = subnetPrefix + "4"
)

func hostAddr(n int) string  { return fmt.Sprintf("%s%d", subnetPrefix, 10+n) }
func guestAddr(n int) string { return fmt.Sprintf("%s%d", subnetPrefix, 100+n) }

// vmAddrs are the addresses that the lab flake gives its VMs, by host name.
// They must agree with flake/infra/vms/*.nix.
func vmAddrs() map[string]string {
	return map[string]string{
		"web":   subnetPrefix + "51",
		"files": subnetPrefix + "52",
		"box":   guestAddr(1),
		"box2":  guestAddr(2),
		// Nobody answers here: a guest that is down.
		"down": subnetPrefix + "99",
	}
}

// netns is the file that holds the network namespace.
func (l *Lab) netns() string { return l.path("netns") }

func (l *Lab) hasNetwork() bool { return slices.Contains(mountsBelow(l.netns()), l.netns()) }

// ensureNetwork makes the namespace and the bridge in it.
func (l *Lab) ensureNetwork(ctx context.Context) error {
	if err := os.MkdirAll(l.root, 0o755); err != nil {
		return err
	}
	if !l.hasNetwork() {
		if err := os.WriteFile(l.netns(), nil, 0o600); err != nil {
			return err
		}
		if _, err := run(ctx, "unshare", "--net="+l.netns(), "true"); err != nil {
			return err
		}
	}
	// A crash may have come between any two of these steps.
	script := fmt.Sprintf(`set -e
ip link set lo up
ip link show %[1]s >/dev/null 2>&1 || ip link add %[1]s type bridge
ip addr show dev %[1]s | grep -q 'inet ' || ip addr add %[2]s/24 dev %[1]s
ip link set %[1]s up`, bridge, gatewayAddr)
	_, err := run(ctx, "nsenter", "--net="+l.netns(), "sh", "-c", script)
	return err
}
