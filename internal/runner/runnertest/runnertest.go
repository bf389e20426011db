// Package runnertest makes runners of microvm.nix's shape below a directory, for each
// hypervisor that it has.
package runnertest

import (
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

//go:embed all:testdata
var files embed.FS

// Hypervisors are those that a runner can be made for.
var Hypervisors = []string{"qemu", "cloud-hypervisor", "firecracker", "crosvm", "kvmtool", "stratovirt", "alioth"}

// Values stand for what differs between runners: packages by name, in the form
// NAME-VERSION, and settings such as mem. What isn't there is as in defaults.
type Values map[string]string

var defaults = Values{
	"system": "nixos-system-web-26.05", "registration": "closure-info", "storeDisk": "",
	"kernel": "linux-6.12.30", "initrd": "initrd-linux-6.12.30",
	"qemu": "qemu-host-cpu-only-9.1.0", "cloud-hypervisor": "cloud-hypervisor-48.0", "firecracker": "firecracker-1.13.1",
	"crosvm": "crosvm-0-unstable-2025-09-30", "kvmtool": "kvmtool-0-unstable-2025-06-24", "stratovirt": "stratovirt-2.4.0", "alioth": "alioth-0.10.0",
	"bash": "bash-5.2p37", "coreutils": "coreutils-9.7", "e2fsprogs": "e2fsprogs-1.47.2-bin", "iproute2": "iproute2-6.15.0", "socat": "socat-1.8.0.3",
	"jq": "jq-1.7.1-bin", "curl": "curl-8.14.1-bin", "util-linux": "util-linux-2.41-bin", "supervisor": "python3.13-supervisor-4.2.5",
	"python3": "python3-3.13.5", "virtiofsd": "virtiofsd-1.13.1", "expect": "expect-5.45.4", "gnused": "gnused-4.9", "systemd": "systemd-257.6",
}

var settings = Values{"mem": "512", "vcpu": "1", "mac": "02:00:00:00:00:01", "size": "100", "params": "quiet", "preStart": "", "runtimeArgs": "", "cache": "auto"}

// Runner is one that was made.
type Runner struct {
	Path, System microvm.StorePath
}

// Make makes a runner and the system inside. NAME-VERSION@BUILD tells packages of
// one version apart. Besides packages and settings, changed has `systemSymlink` and
// `registerClosure`, which may be false; `without`, the files that the runner lacks,
// or `system`; and `replace`, a change of its texts as FROM => TO.
func Make(t testing.TB, root, hypervisor string, changed Values) Runner {
	t.Helper()
	values := maps.Clone(settings)
	for name, pkg := range defaults {
		if name == "storeDisk" {
			continue
		}
		if c, ok := changed[name]; ok {
			pkg = c
		}
		values[name] = storePath(pkg)
	}
	values["storeDisk"] = storePath("microvm-store-disk.erofs@" + values["system"] + changed["storeDisk"])
	for name, v := range changed {
		if _, ok := settings[name]; ok {
			values[name] = v
		}
	}
	m := maker{t: t, root: root, dir: "testdata/" + hypervisor, values: values}
	contents := m.contents(changed)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(contents))))
	r := Runner{Path: microvm.StorePath(storePath("microvm-" + hypervisor + "-web@" + sum)), System: microvm.StorePath(values["system"])}
	for name, text := range contents {
		m.write(string(r.Path)+"/"+name, text)
	}
	if changed["systemSymlink"] != "false" {
		link := filepath.Join(root, string(r.Path), "share/microvm/system")
		if err := os.Symlink(string(r.System), link); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	if changed["without"] == "system" {
		return r
	}
	m.write(string(r.System)+"/bin/switch-to-configuration", "#!/bin/sh\n")
	m.write(string(r.System)+"/etc/hostname", "web\n")
	return r
}

type maker struct {
	t      testing.TB
	root   string
	dir    string
	values Values
}

// contents are the runner's files. `without` in changed names some, separated by
// spaces, that are left out.
func (m maker) contents(changed Values) map[string]string {
	out := map[string]string{}
	without := strings.Fields(changed["without"])
	err := fs.WalkDir(files, m.dir, func(p string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(p, m.dir+"/")
		if err != nil || d.IsDir() || strings.HasPrefix(name, "store/") || slices.Contains(without, name) {
			return err
		}
		out[name] = m.render(p, changed)
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

var placeholder = regexp.MustCompile(`@[A-Za-z0-9:._-]+@`)

// render fills in a file, and writes those of the store that it names.
func (m maker) render(p string, changed Values) string {
	b, err := files.ReadFile(p)
	if err != nil {
		m.t.Fatal(err)
	}
	text := string(b)
	if changed["registerClosure"] == "false" {
		text = strings.ReplaceAll(text, " regInfo=@registration@/registration", "")
	}
	if from, to, ok := strings.Cut(changed["replace"], " => "); ok {
		text = strings.ReplaceAll(text, from, to)
	}
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		name = strings.Trim(name, "@")
		file, ok := strings.CutPrefix(name, "file:")
		if !ok {
			v, ok := m.values[name]
			if !ok {
				m.t.Fatalf("%s: no value for %s", p, name)
			}
			return v
		}
		content := m.render(m.dir+"/store/"+file, changed)
		path := storePath(file + "@" + content)
		m.write(path, content)
		return path
	})
}

func (m maker) write(path, content string) {
	m.t.Helper()
	p := filepath.Join(m.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o755)); err != nil {
		m.t.Fatal(err)
	}
}

// storePath is where a package is, given as NAME or NAME@BUILD.
func storePath(pkg string) string {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	name, _, _ := strings.Cut(pkg, "@")
	sum := sha256.Sum256([]byte(pkg))
	hash := make([]byte, 32)
	for i := range hash {
		hash[i] = digits[sum[i]%32]
	}
	return microvm.StoreDir + "/" + string(hash) + "-" + name
}
