package update

import (
	"context"
	"errors"
	"net/url"
	"sync"

	"ferry/internal/fetch"
	"ferry/internal/microvm"
)

// Once is the source, but for a server that does not answer, or answers with an
// error of its own: that is found out once and not again for every VM.
func Once(s Source) Source { return &once{Source: s} }

type once struct {
	Source
	mu   sync.Mutex
	down error
}

// Latest is the source's.
func (o *once) Latest(ctx context.Context, vm microvm.Name) (Found, error) {
	if err := o.known(); err != nil {
		return Found{}, err
	}
	found, err := o.Source.Latest(ctx, vm)
	return found, o.note(ctx, err)
}

// Flake is what the source builds, where it knows; else empty.
func (o *once) Flake(ctx context.Context) (string, error) {
	s, ok := o.Source.(interface {
		Flake(ctx context.Context) (string, error)
	})
	if !ok {
		return "", nil
	}
	if err := o.known(); err != nil {
		return "", err
	}
	built, err := s.Flake(ctx)
	return built, o.note(ctx, err)
}

func (o *once) known() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.down
}

func (o *once) note(ctx context.Context, err error) error {
	var network *url.Error
	var status *fetch.StatusError
	if ctx.Err() == nil && (errors.As(err, &network) || errors.As(err, &status) && status.Code >= 500) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.down = err
	}
	return err
}
