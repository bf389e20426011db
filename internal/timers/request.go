package timers

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// DecodeRequest reads a Request that the operator's side wrote: a key that this
// version doesn't know is an error.
func DecodeRequest(data []byte) (Request, error) {
	var r Request
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("the request for a timer can't be read: %w", err)
	}
	if r.Kind != KindUpdate && r.Kind != KindFlakeUpdate {
		return r, fmt.Errorf("unknown timer %.40q", r.Kind)
	}
	return r, nil
}
