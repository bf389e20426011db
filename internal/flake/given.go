package flake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/ui"
)

const (
	// givenVersion is of the files that nix/evaluation.nix writes.
	givenVersion = 1
	maxGivenFile = 4 << 20 // bytes; a record has a few thousand
)

// Given is where an evaluation comes from that was made before, outside of ferry.
type Given struct {
	File string
	// LastModified is the flake's, by its own word; zero: not known. When it was
	// evaluated nobody says: Nix has no clock.
	LastModified time.Time
}

// givenFile is what such a file has.
type givenFile struct {
	Version      int             `json:"version"`
	Flake        string          `json:"flake"`
	Revision     string          `json:"revision"`
	LastModified int64           `json:"lastModified"` // seconds since 1970
	VMs          json.RawMessage `json:"vms"`
	Ferry        json.RawMessage `json:"ferry"`
}

// GivenError is a file that can't be used as an evaluation.
type GivenError struct {
	File   string
	Reason string
	Next   string
	Err    error
}

func (e *GivenError) Error() string {
	return fmt.Sprintf("the evaluation %s %s", e.File, e.Reason)
}

// Hint is what to do next.
func (e *GivenError) Hint() string  { return e.Next }
func (e *GivenError) Unwrap() error { return e.Err }

const againNext = "evaluate again: run the command from the flake (nix run …) instead of a copy of what it made"

// given takes a VM out of an evaluation that a file has. Nix isn't asked for
// anything. Errors are a *GivenError or a *SchemaError.
func given(file string, name microvm.Name) (*Evaluation, error) {
	data, err := readGiven(file)
	if err != nil {
		return nil, &GivenError{File: file, Reason: "cannot be read: " + readReason(err), Next: "--evaluation takes a file that microvm.deploy or lib.apps of ferry's flake has made", Err: err}
	}
	var f givenFile
	if err := decodeGiven(data, &f); errors.Is(err, errOtherVersion) {
		return nil, &GivenError{File: file, Reason: err.Error(), Next: againNext, Err: err}
	} else if err != nil {
		return nil, &GivenError{File: file, Reason: "is malformed: " + ui.Redact(err.Error()), Next: againNext, Err: err}
	}
	ev := &Evaluation{
		Given: &Given{File: file}, Revision: f.Revision, URL: f.Flake,
	}
	if f.LastModified > 0 {
		ev.Given.LastModified = time.Unix(f.LastModified, 0).UTC()
	}
	if err := ev.takeGiven(&f, file, name); err != nil {
		return nil, err
	}
	return ev, nil
}

// takeGiven decodes the values of record.nix that the file has.
func (ev *Evaluation) takeGiven(f *givenFile, file string, name microvm.Name) error {
	wrong := func(err error) error {
		return &GivenError{File: file, Reason: "is malformed: " + err.Error(), Next: againNext, Err: err}
	}
	var out outputs
	if err := json.Unmarshal(f.VMs, &out.VMs); err != nil {
		return wrong(err)
	}
	vm, ok := out.VMs[string(name)]
	switch {
	case !ok || vm.Record == nil && vm.Obstacle == "":
		return &GivenError{File: file, Reason: fmt.Sprintf("is not of %s%s", name, ofOthers(keys(out.VMs))), Next: "name the VM that it was made for"}
	case vm.Obstacle != "":
		return &GivenError{File: file, Reason: fmt.Sprintf("says that %s is not a MicroVM: %s", name, vm.Obstacle)}
	}
	out.Ferry = f.Ferry
	drvs, err := ev.takeRecord(out, origin{ref: file, file: true}, name)
	if err != nil {
		return wrong(err)
	}
	if ev.Record.Name != name {
		return wrong(fmt.Errorf("the record of %s says that it is of %.80q", name, ev.Record.Name))
	}
	fleet, warnings, err := DecodeFleet(f.Ferry)
	if err != nil {
		return schemaOf(Source{Evaluation: file}, err)
	}
	ev.Fleet, ev.Warnings = fleet, append(ev.Warnings, warnings...)
	if gone := missing(drvs); len(gone) > 0 {
		return &GivenError{
			File: file, Next: againNext,
			Reason: fmt.Sprintf("names %s, which is not in this machine's store any more: it was made elsewhere, or a garbage collection took it", gone[0]),
		}
	}
	return nil
}

// ofOthers says which VMs it is of.
func ofOthers(names []string) string {
	if len(names) != 1 {
		return ""
	}
	return ", but of " + ui.Redact(fmt.Sprintf("%.80q", names[0]))
}

// readGiven reads a regular file of at most maxGivenFile bytes.
func readGiven(file string) ([]byte, error) {
	info, err := os.Stat(file) // opening a pipe could wait for ever
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxGivenFile+1))
	if err == nil && len(data) > maxGivenFile {
		err = fmt.Errorf("it has more than %d MiB", maxGivenFile>>20)
	}
	return data, err
}

// readReason leaves out the name, which the message has already.
func readReason(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// errOtherVersion begins the reason why a file is not read that may be all right.
var errOtherVersion = errors.New("has the version")

// decodeGiven reads one object, with the known keys only. A file of another version
// is told by its number, whatever else it has.
func decodeGiven(data []byte, f *givenFile) error {
	var version struct{ Version *int }
	if err := json.Unmarshal(data, &version); err != nil {
		return err
	}
	switch {
	case version.Version == nil:
		return errors.New("it has no `version`")
	case *version.Version != givenVersion:
		return fmt.Errorf("%w %d, and this ferry reads version %d: the ferry that runs and the one that evaluated are not of one release", errOtherVersion, *version.Version, givenVersion)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(f)
}
