package vmstate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"
)

// flakeFile is the file of a VM's directory with the flake reference that
// `microvm -u` builds from.
const flakeFile = "flake"

// maxFlakeFile bounds it, in bytes.
const maxFlakeFile = 4096

// ParseFlakeFile reads a VM's `flake` file: one flake reference, with or without
// a new line at its end (microvm.nix's command writes none, its host module
// one). The error says what is wrong with it, in words for the user.
func ParseFlakeFile(content []byte) (string, error) {
	ref := string(bytes.TrimSpace(content))
	switch {
	case ref == "":
		return "", errors.New("it is empty")
	case len(content) > maxFlakeFile:
		return "", fmt.Errorf("it has more than %d bytes", maxFlakeFile)
	case !utf8.ValidString(ref):
		return "", errors.New("it is not text")
	case strings.ContainsAny(ref, "\r\n"):
		return "", errors.New("it has more than one line")
	case strings.ContainsFunc(ref, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
		return "", errors.New("it has control characters")
	case strings.ContainsFunc(ref, unicode.IsSpace):
		return "", errors.New("the reference in it has spaces")
	case strings.HasPrefix(ref, "-"):
		return "", errors.New("the reference in it begins with `-`")
	case strings.ContainsRune(ref, '#'):
		return "", errors.New("the reference in it has a `#`; only the flake belongs there")
	}
	return ref, nil
}

// Flake reads the VM's flake reference. It is empty without an error where
// there is no such file.
func (d *Dir) Flake() (string, error) {
	ref, err := d.readFlakeFile()
	if err != nil {
		return "", fmt.Errorf("%s can't be used: %w", d.Path(flakeFile), err)
	}
	return ref, nil
}

func (d *Dir) readFlakeFile() (string, error) {
	content, err := d.readEntry(flakeFile, maxFlakeFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", withoutPath(err)
	}
	return ParseFlakeFile(content)
}

// withoutPath leaves out the path that the message around it names already.
func withoutPath(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
