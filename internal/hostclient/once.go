package hostclient

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"ferry/internal/helperbin"
	"ferry/internal/remote"
)

// onceBlock is the unit, in bytes, in which helper.sh takes a helper from its
// standard input.
const onceBlock = 64 << 10

// startOnce uses the helper that is there; where it is missing, the binary goes
// in front of the process's input.
func (s starter) startOnce(ctx context.Context, args []string) (*remote.Process, error) {
	h := s.firstGuess()
	p, missing, err := s.try(ctx, h, args)
	if err != nil || missing == nil {
		return p, err
	}
	right, err := s.find(missing.platform)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.c.Address(), err)
	}
	if right.SHA256 != h.SHA256 { // the guess was wrong: that one may be there
		h = right
		if p, missing, err = s.try(ctx, h, args); err != nil || missing == nil {
			return p, err
		}
	}
	how, binary, err := packed(h, missing.gzip)
	if err != nil {
		return nil, err
	}
	words := append([]string{how, strconv.FormatInt(h.Size, 10), strconv.Itoa(len(binary) / onceBlock)}, args...)
	own, stop := context.WithCancelCause(ctx) // lives as long as the helper
	p, err = s.c.Start(own, s.command("once", h, words...))
	if err != nil {
		stop(err)
		return nil, err
	}
	stall := remote.NewPatience(s.answerLimit(), func() { stop(remote.SlowShell(s.c.Address(), s.answerLimit())) })
	_, sent := stall.Writer(p.Stdin).Write(binary)
	stall.Stop()
	answer, err := s.started(own, p, stop)
	switch {
	case err != nil:
		return nil, err
	case answer != "ok":
		return nil, s.refusal(answer)
	case sent != nil:
		return nil, fmt.Errorf("sending the helper to %s: %w", s.c.Address(), sent)
	}
	return p, nil
}

// packed is the helper's binary, filled up to whole blocks with zeros, which
// gzip ignores behind its data.
func packed(h helperbin.Program, compressed bool) (how string, binary []byte, err error) {
	how, open := "plain", h.Open
	if compressed {
		how, open = "gzip", h.Gzip
	}
	in, err := open()
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = in.Close() }()
	binary, err = io.ReadAll(in)
	if err != nil {
		return "", nil, fmt.Errorf("reading ferry's helper: %w", err)
	}
	if over := len(binary) % onceBlock; over > 0 {
		binary = append(binary, make([]byte, onceBlock-over)...)
	}
	return how, binary, nil
}
