//go:build faults

package host

import "time"

// rebootQuiet is short in the fault tests, which restart as a last resort often.
const rebootQuiet = 5 * time.Second
