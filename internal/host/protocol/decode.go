package protocol

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"ferry/internal/hostapi"
)

// Decode reads one line: exactly one request that this version knows, and nothing
// after it. Whose request it is, is known also where it can't be read.
func Decode(line []byte) (hostapi.Request, error) {
	var from struct {
		ID       uint64 `json:"id"`
		Protocol int    `json:"protocol"`
	}
	_ = json.Unmarshal(line, &from) // what is wrong with it is told below
	if err := sameProtocol(from.Protocol); err != nil {
		return hostapi.Request{ID: from.ID}, err
	}
	req, err := decodeStrictly(line)
	if err != nil {
		return hostapi.Request{ID: from.ID}, hostapi.Refuse(err.Error(), "operator and host run different versions of ferry")
	}
	return req, nil
}

// sameProtocol refuses an operator who may misunderstand this host.
func sameProtocol(theirs int) error {
	theirs = cmp.Or(theirs, 1) // the first version did not say so
	older, newer := "the ferry on this host", "the operator's"
	switch {
	case theirs == hostapi.ProtocolVersion:
		return nil
	case theirs < hostapi.ProtocolVersion:
		older, newer = newer, older
	}
	return hostapi.Refuse(
		fmt.Sprintf("%s is older than %s, and the two may misunderstand each other (protocol %d here, %d there)", older, newer, hostapi.ProtocolVersion, theirs),
		"use the same release of ferry on both sides: update "+older)
}

func decodeStrictly(line []byte) (hostapi.Request, error) {
	var req hostapi.Request
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return req, fmt.Errorf("the request cannot be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return req, errors.New("the request cannot be read: there is more on its line")
	}
	if kinds := req.Kinds(); len(kinds) > 1 {
		return req, fmt.Errorf("the request cannot be read: it asks for several things (%s)", strings.Join(kinds, ", "))
	}
	return req, nil
}
