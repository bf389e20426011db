package host_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"

	"ferry/internal/host"
	"ferry/internal/host/vmstate"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/hostclient/hostclienttest"
)

// The helper keeps to the protocol, as its fake does: in this process, on a machine
// with nothing on it.
func TestHelperConforms(t *testing.T) {
	hostclienttest.Conform(t, func(t *testing.T, _ <-chan struct{}) hostclient.Peer {
		dir := t.TempDir()
		layout := vmstate.Layout{
			StateDir: filepath.Join(dir, "microvms"), GCRoots: filepath.Join(dir, "gcroots"),
			Profiles: filepath.Join(dir, "profiles"), Lib: filepath.Join(dir, "lib"), Root: dir,
		}
		others := host.Others{List: func(context.Context, hostapi.ListRequest) ([]hostapi.Listed, error) {
			return hostclienttest.Listed(), nil
		}}
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		var err error
		go func() {
			defer close(done)
			err = host.Serve(ctx, layout, others, inR, outW)
			_ = outW.Close()
		}()
		return hostclient.Peer{
			Address: "here", Stdin: inW, Stdout: outR, Kill: cancel,
			Wait: func() error { <-done; return err },
		}
	})
}
