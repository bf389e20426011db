package helperbin

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// program writes the beginning of a program for a processor, and whatever more.
func program(t *testing.T, path string, m elf.Machine, dynamic bool) {
	t.Helper()
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(m), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD)}
	if dynamic {
		segment.Type = uint32(elf.PT_INTERP)
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h)
	_ = binary.Write(&b, binary.LittleEndian, segment)
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestHelperInFerry(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, "the helper")
	_ = z.Close()
	sum := strings.Repeat("ab", 32)
	all := fstest.MapFS{
		"helpers/linux-arm64.gz":    {Data: packed.Bytes()},
		"helpers/linux-arm64.sum":   {Data: []byte(sum + " 10\n")},
		"helpers/linux-riscv64.gz":  {Data: packed.Bytes()},
		"helpers/linux-riscv64.sum": {Data: []byte("?\n")},
	}
	p, err := contained(all, "linux/arm64")
	if err != nil || p.SHA256 != sum || p.Size != 10 {
		t.Fatalf("%+v, %v", p, err)
	}
	r, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "the helper" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if r, err = p.Gzip(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); !bytes.Equal(b, packed.Bytes()) || err != nil {
		t.Errorf("it is compressed again: %v", err)
	}
	if _, err := contained(all, "linux/amd64"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := contained(all, "linux/riscv64"); err == nil || !strings.Contains(err.Error(), "the sum of the helper") {
		t.Errorf("%v", err)
	}
}

func TestHelperBesideFerry(t *testing.T) {
	dir := t.TempDir()
	ferry, helper := filepath.Join(dir, "ferry"), filepath.Join(dir, "ferry-helper")
	var none *NoHelperError
	if _, err := beside(ferry, "linux/arm64"); !errors.As(err, &none) || !strings.Contains(none.Hint(), "make build") || !strings.Contains(none.Hint(), "GOARCH=arm64") {
		t.Errorf("without one: %v", err)
	}
	program(t, helper, elf.EM_AARCH64, false)
	if p, err := beside(ferry, "linux/arm64"); err != nil || p.Size != 64+56 || len(p.SHA256) != 64 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, other := range []string{"linux/amd64", "darwin/arm64", "linux/unknown"} {
		if _, err := beside(ferry, other); !errors.As(err, &none) {
			t.Errorf("%s: %v", other, err)
		}
	}
	program(t, helper, elf.EM_AARCH64, true)
	if _, err := beside(ferry, "linux/arm64"); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("one that needs libraries: %v", err)
	}
	if err := os.WriteFile(helper, []byte("#!/bin/sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := beside(ferry, "linux/arm64"); !errors.As(err, &none) {
		t.Errorf("a script: %v", err)
	}
}

// A program that can't be read to its end must not arrive as a whole.
func TestGzipOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("content"), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := FromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Gzip()
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); string(b) != "content" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	p.path = t.TempDir() // opens, and can't be read
	if r, err = p.Gzip(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err == nil {
		t.Errorf("%d bytes without an error", len(b))
	}
}
