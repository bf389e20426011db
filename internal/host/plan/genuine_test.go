package plan

import (
	"slices"
	"strings"
	"testing"

	"ferry/internal/microvm"
	"ferry/internal/runner"
	"ferry/internal/runner/runnertest"
)

func genuine(t *testing.T, hypervisor string, from, to runnertest.Values) []string {
	t.Helper()
	root := t.TempDir()
	got, err := HardwareChanges(opened(t, root, hypervisor, from), opened(t, root, hypervisor, to), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func opened(t *testing.T, root, hypervisor string, v runnertest.Values) runner.Runner {
	t.Helper()
	r, err := runner.Open(root, runnertest.Make(t, root, hypervisor, v).Path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What a new system brings with it does not count as hardware: its path and registration on the
// kernel's command line or in a configuration file, the image of a store disk, and
// other tools in the scripts.
func TestNoHardwareDiffersWithTheSystemAndTheTools(t *testing.T) {
	for _, hypervisor := range runnertest.Hypervisors {
		for name, to := range map[string]runnertest.Values{
			"a new system":       {"system": "nixos-system-web-26.05@new", "registration": "closure-info@new"},
			"without a link":     {"system": "nixos-system-web-26.05@new", "registration": "closure-info@new", "systemSymlink": "false"},
			"a new bash":         {"bash": "bash-5.3p0"},
			"a rebuilt bash":     {"bash": "bash-5.2p37@again"},
			"new tools":          {"coreutils": "coreutils-9.8", "e2fsprogs": "e2fsprogs-1.47.3-bin", "socat": "socat-1.8.1", "jq": "jq-1.8.1-bin", "iproute2": "iproute2-6.16.0"},
			"a new python":       {"python3": "python3-3.13.6", "supervisor": "python3.13-supervisor-4.3.0"},
			"a new systemd":      {"systemd": "systemd-258", "gnused": "gnused-4.10", "curl": "curl-8.15-bin", "util-linux": "util-linux-2.42-bin"},
			"all of it together": {"system": "nixos-system-web-26.05@new", "bash": "bash-5.3p0", "socat": "socat-1.8.1", "expect": "expect-5.45.5"},
		} {
			from := runnertest.Values{"systemSymlink": to["systemSymlink"]}
			if got := genuine(t, hypervisor, from, to); got != nil {
				t.Errorf("%s, %s: %q", hypervisor, name, got)
			}
		}
	}
}

func TestHardwareIsNamedForEachHypervisor(t *testing.T) {
	packages := map[string]string{
		"qemu": "qemu-host-cpu-only", "cloud-hypervisor": "cloud-hypervisor", "firecracker": "firecracker",
		"crosvm": "crosvm", "kvmtool": "kvmtool", "stratovirt": "stratovirt", "alioth": "alioth",
	}
	for _, hypervisor := range runnertest.Hypervisors {
		pkg := packages[hypervisor]
		for _, tt := range []struct {
			name     string
			from, to runnertest.Values
			want     string // a line that begins so
		}{
			{"memory", nil, runnertest.Values{"mem": "768"}, "memory "},
			{"memory to", nil, runnertest.Values{"mem": "768"}, "768"},
			{"vcpu", nil, runnertest.Values{"vcpu": "2"}, "vcpu 1 → 2"},
			{"kernel", nil, runnertest.Values{"kernel": "linux-6.12.31"}, "kernel linux-6.12.30"},
			{"a rebuilt kernel", nil, runnertest.Values{"kernel": "linux-6.12.30@again"}, "kernel rebuilt (linux-6.12.30"},
			{"initrd", nil, runnertest.Values{"initrd": "initrd-linux-6.12.30@again"}, "initrd rebuilt"},
			{"kernel arguments", nil, runnertest.Values{"params": "mitigations=off"}, "kernel arguments: quiet → mitigations=off"},
			{"a mac", nil, runnertest.Values{"mac": "02:00:00:00:00:02"}, "interface vm-web"},
			{"hypervisor", runnertest.Values{hypervisor: pkg + "-1.0"}, runnertest.Values{hypervisor: pkg + "-1.1"}, pkg + " 1.0 → 1.1"},
			{"a rebuilt hypervisor", runnertest.Values{hypervisor: pkg + "-1.0"}, runnertest.Values{hypervisor: pkg + "-1.0@again"}, pkg + " 1.0 rebuilt"},
			{"a larger volume", nil, runnertest.Values{"size": "200"}, "what is done before the start"},
			{"preStart", nil, runnertest.Values{"preStart": "ulimit -n 4096"}, "what is done before the start"},
			{"extraArgsScript", nil, runnertest.Values{"runtimeArgs": "$(/etc/args)"}, "the script of extra arguments"},
			{"a volume less", nil, runnertest.Values{"replace": "var.img => data.img"}, "volume data.img is new"},
		} {
			got := genuine(t, hypervisor, tt.from, tt.to)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, tt.want) }) {
				t.Errorf("%s, %s: %q, wanted %q", hypervisor, tt.name, got, tt.want)
			}
			checkWords(t, hypervisor+", "+tt.name, got)
		}
	}
}

// checkWords: few lines, which fit on a screen, without hashes of the store.
func checkWords(t *testing.T, what string, got []string) {
	t.Helper()
	if len(got) > 3 {
		t.Errorf("%s: %d lines: %q", what, len(got), got)
	}
	for _, s := range got {
		if len([]rune(s)) > maxShownChange+1 || strings.Contains(s, "/nix/store/") {
			t.Errorf("%s: not for people: %q", what, s)
		}
	}
}

func TestStoreDiskIsHardwareOnlyForTheSameSystem(t *testing.T) {
	for _, hypervisor := range []string{"firecracker", "crosvm", "kvmtool", "stratovirt", "alioth"} {
		got := genuine(t, hypervisor, nil, runnertest.Values{"storeDisk": "compressed"})
		if !slices.Equal(got, []string{"store disk rebuilt"}) {
			t.Errorf("%s, another image of the same system: %q", hypervisor, got)
		}
		if got := genuine(t, hypervisor, nil, runnertest.Values{"system": "nixos-system-web-26.05@new"}); got != nil {
			t.Errorf("%s, another system: %q", hypervisor, got)
		}
	}
}

func TestQEMUHardwareIsNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		to   runnertest.Values
		want []string
	}{
		"machine options":        {runnertest.Values{"replace": "usb=off => usb=on"}, []string{"machine options usb=off → usb=on"}},
		"another machine":        {runnertest.Values{"replace": "-M 'microvm, => -M 'q35,"}, []string{"machine options microvm → q35"}},
		"a device more":          {runnertest.Values{"replace": "-device vhost-vsock-pci => -device vfio-pci,host=0000:01:00.0,multifunction=on -device vhost-vsock-pci"}, []string{"device 0000:01:00.0 is new"}},
		"a share more":           {runnertest.Values{"replace": "-netdev => -chardev 'socket,id=fs1,path=x.sock' -device vhost-user-fs-pci,chardev=fs1,tag=data -netdev"}, []string{"share data is new"}},
		"vsock":                  {runnertest.Values{"replace": "guest-cid=3 => guest-cid=4"}, []string{"vsock cid 3 → 4"}},
		"an interface less":      {runnertest.Values{"replace": "-netdev 'tap,id=vm-web,ifname=vm-web,script=no,downscript=no' -device 'virtio-net-pci,netdev=vm-web,mac=@mac@,romfile=' => "}, []string{"interface vm-web is gone"}},
		"an argument of its own": {runnertest.Values{"replace": "-sandbox on => -sandbox off"}, []string{"option -sandbox on → off"}},
		"virtiofsd":              {runnertest.Values{"virtiofsd": "virtiofsd-1.14.0"}, []string{"virtiofsd 1.13.1 → 1.14.0"}},
		"virtiofsd's options":    {runnertest.Values{"cache": "always"}, []string{"settings of virtiofsd changed (bin/virtiofsd-run)"}},
		"machined":               {runnertest.Values{"without": "bin/microvm-register"}, []string{"registration with systemd-machined is gone"}},
		"helpers of what runs":   {runnertest.Values{"without": "bin/microvm-balloon bin/microvm-shutdown"}, nil},
		"a credential":           {runnertest.Values{"replace": "-serial => -fw_cfg name=opt/io.systemd.credentials/KEY,file=/run/key -serial"}, []string{"credential KEY is new"}},
	} {
		got := genuine(t, "qemu", nil, tt.to)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, wanted %q", name, got, tt.want)
		}
	}
}

func TestRecordsNameAndTheCommandLineAdds(t *testing.T) {
	root := t.TempDir()
	mem := func(n int) *microvm.Record { return &microvm.Record{Mem: &n} }
	from := opened(t, root, "qemu", runnertest.Values{"qemu": "qemu-9.1.0"})
	to := opened(t, root, "qemu", runnertest.Values{"qemu": "qemu-9.2.0", "mem": "768"})
	got, err := HardwareChanges(from, to, mem(512), mem(768))
	if want := []string{"memory 512 → 768 MiB", "qemu 9.1.0 → 9.2.0"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, wanted %q", got, err, want)
	}
}

func TestAnotherHypervisorIsNamed(t *testing.T) {
	root := t.TempDir()
	got, err := HardwareChanges(opened(t, root, "qemu", nil), opened(t, root, "cloud-hypervisor", nil), nil, nil)
	if err != nil || len(got) == 0 || got[0] != "hypervisor qemu-system-x86_64 → cloud-hypervisor" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A runner may hold anything: what is shown of it has an end.
func TestHardwareChangesAreBounded(t *testing.T) {
	var args strings.Builder
	for i := range 2000 {
		args.WriteString(" -x" + strings.Repeat("y", i%50) + string(rune('a'+i%26)) + " \x1b[31m" + strings.Repeat("z", 200))
	}
	got := genuine(t, "qemu", nil, runnertest.Values{"replace": "-nographic => -nographic " + args.String()})
	if len(got) == 0 || len(got) > maxShownChanges+1 {
		t.Errorf("%d changes", len(got))
	}
	for _, s := range got {
		if len([]rune(s)) > maxShownChange+1 || strings.Contains(s, "\x1b") {
			t.Errorf("not for people: %q", s)
		}
	}
}
