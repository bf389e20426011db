package systemd

import (
	"testing"

	"ferry/internal/trouble"
)

// The words are those of QEMU, cloud-hypervisor, firecracker and crosvm.
func TestAMissingKVMIsNamed(t *testing.T) {
	for line, want := range map[string]trouble.Section{
		"Could not access KVM kernel module: No such file or directory":                                trouble.NoKVM,
		"qemu-system-x86_64: failed to initialize kvm: Permission denied":                              trouble.NoKVM,
		"Error booting VM: VmBoot(...): Failed to open /dev/kvm":                                       trouble.NoKVM,
		"[anonymous-instance:main] Error creating KVM object: Permission denied (os error 13)":         trouble.NoKVM,
		"qemu-system-x86_64: -drive file=root.img: Failed to get \"write\" lock":                       trouble.UnitDown,
		"qemu-system-x86_64: warning: host doesn't support requested feature: CPUID.80000001H:ECX.svm": trouble.UnitDown,
	} {
		f := unitFailure("microvm@web.service started but did not stay up", "microvm@web.service", []string{"started", line})
		if f.See != want || f.Hint == "" || len(f.Log) != 2 {
			t.Errorf("%s: %q, %q", line, f.See, f.Hint)
		}
	}
}
