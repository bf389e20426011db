package hostclient_test

import (
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/hostclient/hostclienttest"
)

// The fake keeps to what the real helper keeps to.
func TestFakeHelperConforms(t *testing.T) {
	hostclienttest.Conform(t, func(t *testing.T, well <-chan struct{}) hostclient.Peer {
		h := hostclienttest.New(t)
		h.Allow("underway").Answer([]hostapi.Underway{})
		list := h.Allow("list")
		for _, v := range hostclienttest.Listed() {
			list.Item(v)
		}
		h.Allow("check").Log("host", "not well yet").After(well)
		return h.Peer()
	})
}
