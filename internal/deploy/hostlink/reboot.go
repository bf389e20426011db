package hostlink

import (
	"context"
	"fmt"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
)

// rebootTries is how often a connection may be lost while the host restarts a VM.
const rebootTries = 3

// Reboot has the host restart the VM as a last resort, where it finds that it must.
// The host does that once however often it is asked, so a lost connection is made
// again.
func (l *Link) Reboot(ctx context.Context, req hostapi.RebootRequest) (hostapi.Rebooted, error) {
	req.Name = l.VM
	var done hostapi.Rebooted
	err := l.Call(ctx, hostapi.Request{Reboot: &req}, &done)
	for range rebootTries {
		if !hostclient.IsLost(err) {
			break
		}
		resumed, rerr := l.Resume(ctx, err)
		switch {
		case rerr != nil:
			return done, rerr
		case resumed.Outcome != "":
			return done, fmt.Errorf("deployment %s has ended meanwhile: %s %s", l.ID, resumed.Outcome, resumed.Error)
		}
		err = l.Call(ctx, hostapi.Request{Reboot: &req}, &done)
	}
	return done, err
}
