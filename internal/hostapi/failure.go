package hostapi

import (
	"errors"
	"fmt"
	"time"

	"ferry/internal/microvm"
)

// IsRefused reports whether err says that nothing was changed.
func IsRefused(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Kind == KindRefused
}

// Claim is who wants a VM's lock, and how long they wait for it.
type Claim struct {
	By   string // user@machine
	Wait time.Duration
}

// Refusal tells somebody else that this holds the VM's lock.
func (k Lock) Refusal(n microvm.Name) *Failure {
	return LockedFailure(fmt.Sprintf("%s is locked by %s since %s, deployment %s", n, k.By, k.Since.Format("2006-01-02 15:04:05 MST"), k.Deployment))
}

func LockedFailure(message string) *Failure {
	return &Failure{Kind: KindLocked, Message: message, Hint: "wait for it to end, or let ferry wait: --wait"}
}
