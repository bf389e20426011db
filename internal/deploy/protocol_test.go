package deploy

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
)

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// A helper of another version is not talked to any further, and the message says
// which side is to be updated.
func TestAnotherProtocolIsRefused(t *testing.T) {
	for said, older := range map[string]string{
		`{}`:               "the ferry on root@host1 is older than this one",
		`{"protocol":0}`:   "the ferry on root@host1 is older than this one",
		`{"protocol":999}`: "this one is older than the ferry on root@host1",
		fmt.Sprintf(`{"protocol":%d}`, hostapi.ProtocolVersion): "",
	} {
		s := hostclient.New(hostclient.Peer{
			Address: "root@host1", Stdin: nopCloser{io.Discard}, Wait: func() error { return nil }, Kill: func() {},
			Stdout: strings.NewReader(`{"event":"result","result":` + said + `}`),
		}, nil)
		d := &deployment{Deployer: &Deployer{}, session: s}
		err := d.askFacts(t.Context(), hostapi.ProbeRequest{Name: "web"})
		var refused *RefusedError
		if older == "" && err == nil {
			continue
		}
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Message, older) || older == "" || refused.Next == "" {
			t.Errorf("%s: %v", said, err)
		}
	}
}
