package update

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"ferry/internal/flake"
	"ferry/internal/microvm"
)

// Source says which runner a VM should have.
type Source interface {
	// Latest is the newest runner of a VM. Which errors mean what, see ErrNoBuild
	// and what stands beside it; others are of the network or of the source
	// itself, and so true of every VM. It may be called for several VMs at once.
	Latest(ctx context.Context, vm microvm.Name) (Found, error)
	// String names the source for people, without credentials.
	String() string
}

// Found is what a source says.
type Found struct {
	Runner microvm.StorePath
	Build  string    // where people find the build: a page or a file
	Built  time.Time // zero where the source doesn't say
	// Flake is the flake that the build is from. It is empty for a source that
	// knows nothing of flakes, such as a file: then whoever wrote it has decided
	// which VM gets what.
	Flake string
	// Job is the address of the job that the build is of, and ID its number there:
	// of one job, a greater number is a later build. Empty and 0 for a source whose
	// builds have no order.
	Job string
	ID  int64
}

var (
	// ErrNoBuild says that the source has nothing for this VM.
	ErrNoBuild = errors.New("there is no build")
	// ErrNotFinished says that the build has not ended.
	ErrNotFinished = errors.New("the build isn't finished")
	// ErrFailed says that the build failed, or can't be used for another reason.
	ErrFailed = errors.New("the build can't be used")
)

// OtherFlakeError is a VM that is not to be updated from a source.
type OtherFlakeError struct {
	Recorded string // in the VM's `flake` file; may be empty
	Built    string // what the source builds
}

func (e *OtherFlakeError) Error() string {
	if e.Recorded == "" {
		return fmt.Sprintf("it has no `flake` file, so nothing says that it is to be updated from %s", shown(e.Built))
	}
	return fmt.Sprintf("its `flake` file says %s, but the builds are from %s", shown(e.Recorded), shown(e.Built))
}

// Hint is what to do next.
func (e *OtherFlakeError) Hint() string {
	return "where the builds are the right ones: ferry rebuild NAME --update-flake " + shown(e.Built)
}

// For says whether what was found is for a VM whose `flake` file holds recorded
// (empty: it has none); else the error is an *OtherFlakeError.
func (f Found) For(recorded string) error {
	if f.Flake == "" || flake.SameRef(f.Flake, recorded) {
		return nil
	}
	return &OtherFlakeError{Recorded: recorded, Built: f.Flake}
}

// onlyVM keeps what names no VM from being given to two: they would run the same
// configuration.
type onlyVM struct {
	mu sync.Mutex
	vm microvm.Name
}

// take returns the VM that asked first.
func (o *onlyVM) take(vm microvm.Name) microvm.Name {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.vm == "" {
		o.vm = vm
	}
	return o.vm
}

// shown is a flake reference without the password or token in it.
func shown(ref string) string {
	u, err := url.Parse(ref)
	if err != nil || u.User == nil {
		return ref
	}
	if _, secret := u.User.Password(); !secret && strings.HasSuffix(u.Scheme, "ssh") {
		return ref
	}
	u.User = url.User("…")
	return strings.Replace(u.String(), url.PathEscape("…"), "…", 1)
}
