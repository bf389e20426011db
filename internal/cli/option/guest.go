package option

import (
	"errors"

	"github.com/spf13/pflag"

	"ferry/internal/cmdline"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// RestartPolicies are the values of --restart.
func RestartPolicies() []string {
	return []string{string(hostapi.RestartAuto), string(hostapi.RestartIfNeeded), string(hostapi.RestartAlways), string(hostapi.RestartNever)}
}

// AddNoGuestFlag is for commands that ask the guest before they change anything.
func AddNoGuestFlag(fs *pflag.FlagSet, no *bool) {
	fs.BoolVar(no, "no-guest", false, "do not ask the guest what it runs, or look who answers at TARGET, before anything is done; a live switch still does")
}

// TargetAddress reads the value of --target.
func TargetAddress(word string) (microvm.Address, error) {
	address, err := microvm.ParseAddress(word)
	if err == nil && address.Local {
		err = errors.New("the system inside a VM is never `local`")
	}
	if err != nil {
		return address, &cmdline.UsageError{Err: err, Next: "--target takes the address of the system inside the VM"}
	}
	return address, nil
}
