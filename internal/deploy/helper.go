package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ferry/internal/deploy/transfer"
	"ferry/internal/hostapi"
	"ferry/internal/remote"
)

// openHelper starts a session with the helper on a host.
func openHelper(ctx context.Context, c remote.Conn, o opening) (Session, bool, error) {
	s, uploaded, err := openSession(ctx, c, o.noTrace, o.log)
	if err != nil {
		return nil, uploaded, err
	}
	return session{s}, uploaded, nil
}

type session struct{ *hostSession }

func (s session) Call(ctx context.Context, req hostapi.Request, result any) error {
	return s.call(ctx, req, result)
}
func (s session) Close() error { return s.close() }

// isLost reports whether a session's connection has ended.
func isLost(err error) bool {
	var l *lostError
	return errors.As(err, &l)
}

// startHelper starts the helper for one thing.
func startHelper(ctx context.Context, c remote.Conn, args []string) (*transfer.Process, error) {
	p, _, err := remote.StartHelper(ctx, c, args)
	if err != nil {
		return nil, err
	}
	return &transfer.Process{Stdin: p.Stdin, Stdout: p.Stdout, Wait: p.Wait}, nil
}

// maxRegistration bounds the registration of a closure, in bytes.
const maxRegistration = 64 << 20

// readRegistration reads what a helper prints; silence for the limit, or too much
// of it, ends the helper.
func readRegistration(r io.Reader, limit time.Duration, stop context.CancelCauseFunc) (io.Reader, error) {
	patience := remote.NewPatience(limit, func() { stop(errSilent) })
	defer patience.Stop()
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(patience.Reader(r), maxRegistration+1))
	if err == nil && n > maxRegistration {
		err = fmt.Errorf("the registration of the closure has more than %d MiB", maxRegistration>>20)
	}
	if err != nil {
		stop(err)
	}
	return &buf, err
}
