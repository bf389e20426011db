package hostclient

import (
	"bytes"
	"encoding/json"
	"fmt"
)

const (
	// maxValues bounds the values in one answer, and so the length of every list in
	// it; maxDepth how deep they are; maxText a string, in bytes.
	maxValues = 200_000
	maxDepth  = 64
	maxText   = 1 << 20
)

// checkShape refuses an answer that would take much more memory than its bytes, or
// that nobody could read.
func checkShape(answer json.RawMessage, most int) error {
	if len(answer) <= maxDepth { // too short for any of that
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	depth := 0
	for n := 0; ; n++ {
		token, err := d.Token()
		if err != nil { // the end; what is wrong with it shows where it is decoded
			return nil
		}
		switch t := token.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				depth++
			} else {
				depth--
			}
		case string:
			if len(t) > maxText {
				return fmt.Errorf("a text of more than %s", mebibytes(maxText))
			}
		}
		switch {
		case depth > maxDepth:
			return fmt.Errorf("an answer that is more than %d deep", maxDepth)
		case n > most:
			return fmt.Errorf("an answer of more than %d values", most)
		}
	}
}
