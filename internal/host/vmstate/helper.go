package vmstate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// Helper is a copy of the program that works on a deployment: another name for its
// file, which lasts until the deployment is over.
type Helper struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// helperFile is that name, among the VM's notes.
const helperFile = "helper"

// KeepHelper gives a program another name that only root can use, so that it is
// there for as long as the deployment: the one that it was uploaded under goes with
// newer versions. On another file system the program keeps its own.
func (n Notes) KeepHelper(program string) (*Helper, error) {
	sum, err := programSum(program)
	if err != nil {
		return nil, fmt.Errorf("reading ferry's own program: %w", err)
	}
	if err := os.MkdirAll(n.vm.lib(), 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(n.vm.lib(), helperFile)
	if err := n.drop(helperFile); err != nil {
		return nil, err
	}
	if os.Link(program, path) != nil {
		return &Helper{Path: program, SHA256: sum}, nil
	}
	return &Helper{Path: path, SHA256: sum}, syncPath(n.vm.lib())
}

// uploaded is the path of a program that is named after its SHA-256.
var uploaded = regexp.MustCompile(`/([0-9a-f]{64})/[^/]+$`)

// programSum is a program's SHA-256, which uploads have in their path: they were
// checked when they got it.
func programSum(program string) (string, error) {
	if m := uploaded.FindStringSubmatch(program); m != nil {
		return m[1], nil
	}
	f, err := os.Open(program)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
