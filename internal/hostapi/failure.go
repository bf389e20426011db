package hostapi

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"ferry/internal/microvm"
	"ferry/internal/trouble"
)

// IsRefused reports whether err says that nothing was changed.
func IsRefused(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Kind == KindRefused
}

// FailureOf is an error as it crosses to the operator, with what it says of itself.
func FailureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	f = &Failure{Kind: KindFailed, Message: err.Error(), Hint: trouble.Hint(err), See: trouble.Of(err)}
	if errors.Is(err, syscall.ENOSPC) {
		f.Hint, f.See = FullDiskHint, trouble.DiskFull
	}
	return f
}

// FullDiskHint is what helps where there is no space left on a host.
const FullDiskHint = "free space on the host (`df -h /nix /var`, `nix-collect-garbage`), then run the same command again"

// Claim is who wants a VM's lock, and how long they wait for it.
type Claim struct {
	By   string // user@machine
	Wait time.Duration
}

// Refusal tells somebody else that this holds the VM's lock.
func (k Lock) Refusal(n microvm.Name) *Failure {
	return LockedFailure(fmt.Sprintf("%s is locked by %s since %s, deployment %s", n, k.By, k.Since.Format("2006-01-02 15:04:05 MST"), k.Deployment))
}

// LockedFailure says that somebody else has the VM's lock.
func LockedFailure(message string) *Failure {
	return &Failure{Kind: KindLocked, Message: message, Hint: "wait for it to end, or let ferry wait: --wait", See: trouble.Locked}
}
