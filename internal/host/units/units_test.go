package units

import (
	"slices"
	"strings"
	"testing"
)

// settings are those of a unit's section [Service], in their order.
func settings(content string) []string {
	_, service, _ := strings.Cut(content, "\n[Service]\n")
	service, _, _ = strings.Cut(service, "\n[")
	return slices.DeleteFunc(strings.Split(service, "\n"), func(l string) bool { return l == "" || strings.HasPrefix(l, "#") })
}

// What root runs for a VM does not have the VM's directory as its working
// directory, where an interpreter would take modules from that user microvm put
// there.
func TestRootRunsNothingInTheVMsDirectory(t *testing.T) {
	for _, u := range All() {
		root := !strings.Contains(u.Content, "\nUser=microvm\n")
		for _, s := range settings(strings.ReplaceAll(u.Content, "\\\n", "")) {
			key, value, _ := strings.Cut(s, "=")
			if strings.HasPrefix(value, "+/bin/sh") && !strings.HasPrefix(value, "+/bin/sh -c '  cd / || exit;") {
				t.Errorf("%s: %s", u.Name, s)
			}
			// set-booted runs only its own shell script.
			if root && key == "WorkingDirectory" && u.Name != "microvm-set-booted@.service" {
				t.Errorf("%s: %s", u.Name, s)
			}
		}
	}
}

// Every unit of a VM has the restrictions that it can bear, and none that would
// take its devices, a guest's files or a host's mounts away.
func TestUnitsAreRestricted(t *testing.T) {
	everywhere := []string{"NoNewPrivileges=yes", "LockPersonality=yes", "RestrictRealtime=yes"}
	kernel := []string{"ProtectKernelTunables=yes", "ProtectKernelLogs=yes", "ProtectControlGroups=yes", "ProtectHostname=yes"}
	closed := append(slices.Clone(kernel), "ProtectSystem=strict", "PrivateDevices=yes", "ProtectClock=yes", "RestrictSUIDSGID=yes", "RestrictAddressFamilies=AF_UNIX")
	script := []string{"RestrictSUIDSGID=yes", "SystemCallFilter=~@clock @reboot @swap"}
	// What would need a mount namespace, in which a script's mounts stay.
	hides := []string{"Protect", "Private", "ReadOnlyPaths", "InaccessiblePaths"}
	want := map[string]struct{ has, hasNot []string }{
		"microvm@.service":                    {append(kernel, "ProtectSystem=full", "User=microvm"), []string{"ProtectClock", "PrivateDevices", "Device", "RestrictSUIDSGID", "MemoryDenyWriteExecute"}},
		"microvm-virtiofsd@.service":          {append(kernel, "RuntimeDirectory=microvm-virtiofsd/%i", "ExecStart=/usr/local/bin/ferry-helper host virtiofsd %i"), []string{"WorkingDirectory", "ProtectClock", "PrivateDevices", "Device", "RestrictSUIDSGID", "ProtectSystem", "ProtectKernelModules"}},
		"microvm-set-booted@.service":         {append(closed, "ReadWritePaths=/var/lib/microvms"), nil},
		"microvm-start-gate@.service":         {closed, []string{"ReadWritePaths"}},
		"microvm-tap-interfaces@.service":     {script, hides},
		"microvm-macvtap-interfaces@.service": {script, hides},
		"microvm-pci-devices@.service":        {script, hides},
	}
	for _, u := range All() {
		if !strings.HasPrefix(u.Name, "microvm") || !strings.HasSuffix(u.Name, ".service") {
			continue
		}
		w, known := want[u.Name]
		if !known {
			t.Errorf("%s: not known here", u.Name)
		}
		has := settings(u.Content)
		for _, s := range append(everywhere, w.has...) {
			if !slices.Contains(has, s) {
				t.Errorf("%s lacks %s", u.Name, s)
			}
		}
		for _, s := range w.hasNot {
			if slices.ContainsFunc(has, func(l string) bool { return strings.HasPrefix(l, s) }) {
				t.Errorf("%s has %s", u.Name, s)
			}
		}
	}
}
