package deploy

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"ferry/internal/hostapi"
)

// A helper of another version is not talked to any further, and the message says
// which side is to be updated.
func TestAnotherProtocolIsRefused(t *testing.T) {
	const older, newer = "the ferry on root@host1 is older than this one", "this one is older than the ferry on root@host1"
	for protocol, says := range map[int]string{0: older, hostapi.ProtocolVersion + 1: newer, hostapi.ProtocolVersion: ""} {
		l := &stage{t: t, answers: map[string]any{"probe": hostapi.Facts{Protocol: protocol}}}
		h := &hostSide{address: address(t, "root@host1"), session: &stageSession{stage: l}}
		_, err := h.probe(t.Context(), hostapi.ProbeRequest{Name: "web"})
		var refused *RefusedError
		if says == "" && err == nil {
			continue
		}
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Message, says) || says == "" || refused.Next == "" {
			t.Errorf("%d: %v", protocol, err)
		}
	}
}

// endless is a reader that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A registration is bounded, and so is the wait for it.
func TestRegistrationIsBounded(t *testing.T) {
	var ended error
	if _, err := readRegistration(endless{}, time.Hour, func(err error) { ended = err }); err == nil || ended == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("got %v, ended with %v", err, ended)
	}
	r, w := io.Pipe()
	_, err := readRegistration(r, 10*time.Millisecond, func(err error) { _ = w.CloseWithError(err) })
	if !errors.Is(err, errSilent) {
		t.Errorf("silent: %v", err)
	}
	reg, err := readRegistration(strings.NewReader("three\n"), time.Hour, func(error) { t.Error("ended") })
	if b, _ := io.ReadAll(reg); err != nil || string(b) != "three\n" {
		t.Errorf("got %q, %v", b, err)
	}
}
