package hostclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
)

// maxRegistration bounds the registration of a closure, in bytes as JSON.
const maxRegistration = 64 << 20

// Registration has the host dump what a system's closure is registered with in
// Nix's database, in the form of `nix-store --load-db`.
func (s *Session) Registration(ctx context.Context, system microvm.StorePath) (io.Reader, error) {
	var text strings.Builder
	req := hostapi.Request{Commands: hostapi.Commands{Registration: &hostapi.RegistrationRequest{System: system}}}
	err := s.Stream(ctx, req, Items{Bytes: maxRegistration, Each: func(item json.RawMessage) error {
		var piece string
		if err := json.Unmarshal(item, &piece); err != nil {
			return fmt.Errorf("reading the host's answer: %w", err)
		}
		text.WriteString(piece)
		return nil
	}}, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the registration of %s: %w", system, err)
	}
	return strings.NewReader(text.String()), nil
}

// Import starts the one command of the helper that is no request, as bytes go
// through it: what is written to its Stdin, as `nix-store --export` makes it, goes
// into the host's store. It has arrived once the process has ended well.
func Import(ctx context.Context, c remote.Conn) (*remote.Process, error) {
	p, _, err := start(ctx, c, Options{}, "host", "import")
	return p, err
}
