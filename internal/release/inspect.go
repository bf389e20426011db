package release

import (
	"debug/buildinfo"
	"debug/elf"
	"debug/macho"
	"fmt"
	"strings"
)

// inspect finds out whether a program is what a release has: for its platform,
// needing nothing of a machine that is not on each. It can't run it here.
func inspect(program, platform string) error {
	system, processor, _ := strings.Cut(platform, "/")
	if system == "darwin" {
		return inspectMachO(program, processor)
	}
	f, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[processor]
	if f.Machine != want {
		return fmt.Errorf("%s is for %s, not for %s", program, f.Machine, platform)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return fmt.Errorf("%s is not static", program)
		}
	}
	return nil
}

// codeSignature is LC_CODE_SIGNATURE of <mach-o/loader.h>. macOS on arm64 kills
// programs without one; Go's linker signs them ad hoc.
const codeSignature = 0x1d

func inspectMachO(program, processor string) error {
	f, err := macho.Open(program)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	want := map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64}[processor]
	if f.Cpu != want {
		return fmt.Errorf("%s is for %s, not for darwin/%s", program, f.Cpu, processor)
	}
	// macOS has no stable system calls, so every program links to its own libraries.
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, l := range libraries {
		if !strings.HasPrefix(l, "/usr/lib/") && !strings.HasPrefix(l, "/System/Library/") {
			return fmt.Errorf("%s needs %s, which is not part of macOS", program, l)
		}
	}
	if processor != "arm64" {
		return nil
	}
	for _, l := range f.Loads {
		if raw := l.Raw(); len(raw) >= 4 && f.ByteOrder.Uint32(raw) == codeSignature {
			return nil
		}
	}
	return fmt.Errorf("%s is not signed", program)
}

// commitIn is the commit that Go has put into a program; empty: none. It knows no
// worktrees of Git (golang.org/issue/58218).
func commitIn(program string) (string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value, nil
		}
	}
	return "", nil
}
