//go:build !faults

package host

import "ferry/internal/hostapi"

const rebootQuiet = hostapi.RebootQuiet
