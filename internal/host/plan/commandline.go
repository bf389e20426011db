package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/runner"
)

// topic is what an option of a hypervisor is about, in a word of the configuration.
type topic string

const (
	memory     topic = "memory"
	vcpu       topic = "vcpu"
	cpu        topic = "cpu"
	kernel     topic = "kernel"
	initrd     topic = "initrd"
	kernelArgs topic = "kernel arguments"
	volume     topic = "volume"
	share      topic = "share"
	netif      topic = "interface"
	vsock      topic = "vsock cid"
	device     topic = "device"
	machine    topic = "machine options"
	storeDisk  topic = "store disk"
	socket     topic = "control socket"
	credential topic = "credential"
	balloon    topic = "balloon"
	hypervisor topic = "hypervisor"
	nothing    topic = "" // follows from another option
)

// vocabulary is what the options mean, by the name of the hypervisor's program. What
// isn't in it is shown as it stands.
var vocabulary = map[string]map[string]topic{
	"qemu": {
		"-M": machine, "-machine": machine, "-m": memory, "-smp": vcpu, "-cpu": cpu, "-kernel": kernel, "-initrd": initrd,
		"-append": kernelArgs, "-drive": volume, "-netdev": netif, "-fsdev": share, "-chardev": share, "-device": device,
		"-qmp": socket, "-fw_cfg": credential, "-numa": nothing, "-smbios": "machine id", "-run-with": "user",
	},
	"cloud-hypervisor": {
		"--cpus": vcpu, "--memory": memory, "--kernel": kernel, "--initramfs": initrd, "--cmdline": kernelArgs, "--disk": volume,
		"--fs": share, "--net": netif, "--vsock": vsock, "--device": device, "--api-socket": socket, "--balloon": balloon,
		"--platform": "platform options",
	},
	"firecracker": {
		"boot-source.kernel_image_path": kernel, "boot-source.initrd_path": initrd, "boot-source.boot_args": kernelArgs,
		"machine-config.vcpu_count": vcpu, "machine-config.mem_size_mib": memory, "machine-config.smt": vcpu, "cpu-config": cpu,
		"drives": volume, "network-interfaces": netif, "vsock.guest_cid": vsock, "--api-sock": socket,
	},
	"crosvm": {
		"-m": memory, "-c": vcpu, "-p": kernelArgs, "--initrd": initrd, "": kernel, "-r": storeDisk, "--block": volume,
		"--shared-dir": share, "--vhost-user": share, "--net": netif, "--vsock": vsock, "--vfio": device, "-s": socket,
		"--no-balloon": balloon, "--balloon-page-reporting": balloon,
	},
	"lkvm": {
		"-m": memory, "-c": vcpu, "-k": kernel, "-i": initrd, "-p": kernelArgs, "-d": volume, "--9p": share, "-n": netif,
		"--vsock": vsock, "--vfio-pci": device, "--balloon": balloon,
	},
	"alioth": {
		"--memory": memory, "--num-cpu": vcpu, "-k": kernel, "-i": initrd, "-c": kernelArgs, "--blk": volume, "--fs": share,
		"--net": netif, "--vsock": vsock,
	},
}

func wordsOf(program string) map[string]topic {
	if words, ok := vocabulary[filepath.Base(program)]; ok {
		return words
	}
	return vocabulary["qemu"] // stratovirt's are the same
}

// commandChanges names what differs between what two runners start, and how.
func commandChanges(a, b runner.Fingerprint) []string {
	out := programChanges(a, b)
	from, to := a.Command, b.Command
	if filepath.Base(from.Program) != filepath.Base(to.Program) {
		return out // another hypervisor, whose options can't be compared
	}
	words := wordsOf(from.Program)
	out = append(out, settingChanges(settingsOf(from.Options, words), settingsOf(to.Options, words))...)
	if from.Runtime != to.Runtime {
		out = append(out, "the script of extra arguments (extraArgsScript) differs")
	}
	return out
}

// programChanges names other builds of the hypervisor and of what serves its devices.
func programChanges(a, b runner.Fingerprint) []string {
	if from, to := filepath.Base(a.Command.Program), filepath.Base(b.Command.Program); from != to {
		return []string{fmt.Sprintf("hypervisor %s → %s", orNone(from), orNone(to))}
	}
	var out []string
	for _, program := range sortedKeys(a.Programs, b.Programs) {
		from, had := a.Programs[program]
		to, has := b.Programs[program]
		if !had || !has || from == to {
			continue // with the share or the device that it is for
		}
		line := programChange(from, to)
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

func programChange(from, to string) string {
	name, was := runner.Package(from)
	other, is := runner.Package(to)
	switch {
	case name != other:
		return fmt.Sprintf("%s → %s", strings.TrimSuffix(name+"-"+was, "-"), strings.TrimSuffix(other+"-"+is, "-"))
	case was != is:
		return fmt.Sprintf("%s %s → %s", name, orNone(was), orNone(is))
	}
	return strings.TrimSpace(name+" "+was) + " rebuilt"
}

// setting is one thing of the configuration: a topic, and which of its kind.
type setting struct {
	topic topic
	key   string
}

// settingsOf sorts options by what they are about. What belongs to one volume, share
// or interface comes together, whatever number it has this time.
func settingsOf(options []runner.Option, words map[string]topic) map[setting][]string {
	names := ids(options)
	out := map[setting][]string{}
	for _, o := range options {
		t, ok := words[o.Flag]
		if !ok {
			t = topic(strings.TrimSpace("option " + o.Flag))
		}
		s := setting{topic: t}
		value := o.Value
		switch {
		case strings.HasPrefix(o.Value, "{"):
			s.key, value = jsonSetting(t, o.Value)
		case o.Flag == "-object" && strings.HasPrefix(o.Value, "memory-backend"):
			s.topic = nothing
		case o.Flag == "-device":
			s.topic, s.key, value = qemuDevice(o.Value, names)
		case t == volume || t == share || t == netif || t == credential:
			s.key, value = listed(t, o.Value, names)
		}
		if s.topic == volume && strings.Contains(s.key, "microvm-store-disk.") {
			s.topic = storeDisk
		}
		if t == memory || t == vcpu {
			value = strings.TrimPrefix(strings.TrimPrefix(value, "boot="), "size=")
		}
		if s.topic == storeDisk { // another one for each system
			s.key, value = "", ""
		}
		if s.topic != nothing {
			out[s] = append(out[s], value)
		}
	}
	return out
}

// ids resolves the identifiers by which QEMU's devices name their backends.
func ids(options []runner.Option) map[string]string {
	names := map[string]string{}
	for _, o := range options {
		f := fields(o.Value)
		switch o.Flag {
		case "-drive":
			names[f["id"]] = f["file"]
		case "-device":
			for _, backend := range []string{"chardev", "fsdev"} {
				if tag := first(f["tag"], f["mount_tag"]); f[backend] != "" && tag != "" {
					names[f[backend]] = tag
				}
			}
		}
	}
	return names
}

// links are fields that only connect one option to another, or follow from the number
// of virtual CPUs.
var links = []string{"id", "drive", "chardev", "fsdev", "netdev", "queues", "mq", "vectors", "num_queues", "queue_pairs", "bus", "addr", "vq-pairs"}

func qemuDevice(value string, names map[string]string) (topic, string, string) {
	kind, f := strings.SplitN(value, ",", 2)[0], fields(value)
	switch {
	case strings.HasPrefix(kind, "virtio-blk"):
		return volume, first(names[f["drive"]], f["drive"]), trimmed(value)
	case strings.HasPrefix(kind, "virtio-net"):
		return netif, f["netdev"], trimmed(value)
	case strings.HasPrefix(kind, "vhost-user-fs"), strings.HasPrefix(kind, "virtio-9p"):
		return share, first(f["tag"], f["mount_tag"]), trimmed(value)
	case strings.HasPrefix(kind, "vhost-vsock"):
		return vsock, "", f["guest-cid"]
	case strings.HasPrefix(kind, "virtio-balloon"):
		return balloon, "", trimmed(value)
	case kind == "vfio-pci":
		return device, first(f["host"], kind), trimmed(value)
	}
	return device, kind, value
}

// listed finds which one of a list an option is about.
func listed(t topic, value string, names map[string]string) (key, rest string) {
	f := fields(value)
	plain := strings.SplitN(value, ",", 2)[0]
	switch t {
	case volume:
		key = first(f["file"], f["path"], plain)
	case share:
		key = first(names[f["id"]], f["tag"], shareTag(value), f["socket"], plain)
	case netif:
		key = first(f["id"], f["tap"], f["tap-name"], f["tapif"], f["if_name"], f["fd"], plain)
	case credential:
		key = strings.TrimPrefix(first(f["name"], plain), "opt/io.systemd.credentials/")
	}
	return key, trimmed(value)
}

// shareTag is the tag in `SOURCE,TAG` of lkvm and `SOURCE:TAG:type=p9` of crosvm.
func shareTag(value string) string {
	parts := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ':' })
	if len(parts) >= 2 && strings.HasPrefix(value, "/") {
		return parts[1]
	}
	return ""
}

// jsonSetting is one entry of a list in Firecracker's configuration.
func jsonSetting(t topic, value string) (key, rest string) {
	var f map[string]any
	if json.Unmarshal([]byte(value), &f) != nil {
		return "", value
	}
	name := map[topic]string{volume: "path_on_host", netif: "iface_id"}[t]
	if s, ok := f[name].(string); ok {
		key = s
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if k != name && k != "drive_id" {
			parts = append(parts, fmt.Sprintf("%s=%v", k, f[k]))
		}
	}
	return key, strings.Join(parts, ",")
}
