package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"ferry/internal/hostapi"
)

// decodeRequest reads one line: exactly one request that this version knows, and
// nothing after it.
func decodeRequest(line []byte) (hostapi.Request, error) {
	var req hostapi.Request
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return req, fmt.Errorf("the request cannot be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return req, errors.New("the request cannot be read: there is more on its line")
	}
	return req, nil
}
