package helperbin

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"
)

// machines are the ELF names of Go's processors.
var machines = map[string]elf.Machine{
	"386": elf.EM_386, "amd64": elf.EM_X86_64, "arm": elf.EM_ARM, "arm64": elf.EM_AARCH64,
	"riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390,
}

// platformError is a program of another platform than is wanted.
type platformError struct{ path, platform string }

func (e *platformError) Error() string { return e.path + " is not a program for " + e.platform }

// check finds out whether the program at path runs on any machine of a platform.
func check(path, platform string) error {
	other := &platformError{path, platform}
	system, processor, _ := strings.Cut(platform, "/")
	f, err := elf.Open(path)
	var format *elf.FormatError
	switch {
	case errors.As(err, &format), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return other
	case err != nil:
		return fmt.Errorf("reading %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	if system != "linux" || f.Machine != machines[processor] {
		return other
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs libraries that a host may lack: build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}
