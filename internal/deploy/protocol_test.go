package deploy

import (
	"errors"
	"strings"
	"testing"

	"ferry/internal/deploy/request"
	"ferry/internal/hostapi"
)

// A helper of another version is not talked to any further, and the message says
// which side is to be updated.
func TestAnotherProtocolIsRefused(t *testing.T) {
	const older, newer = "the ferry on root@host1 is older than this one", "this one is older than the ferry on root@host1"
	for protocol, says := range map[int]string{0: older, hostapi.ProtocolVersion + 1: newer, hostapi.ProtocolVersion: ""} {
		l := &stage{t: t, answers: map[string]any{"probe": hostapi.Facts{Protocol: protocol}}}
		d := &Deployer{Report: &silent{}, tools: tools{dial: l.dial, open: l.open}}
		_, err := d.Update(t.Context(), request.Update{Name: "web", Host: address(t, "root@host1")})
		var refused *hostapi.Failure
		if says == "" { // there just is no VM
			says = "there is no VM web"
		}
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Message, says) || refused.Hint == "" {
			t.Errorf("%d: %v", protocol, err)
		}
	}
}
