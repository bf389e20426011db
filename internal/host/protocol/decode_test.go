package protocol

import (
	"encoding/json"
	"testing"
)

// Whatever a request line holds, it is read the same way again or refused.
func FuzzRequests(f *testing.F) {
	for _, line := range []string{
		`{"probe":{"name":"web"}}`, `{"probe":{"name":"../web"}}`, `{"commit":{"name":"web","runner":"/nix/store/x"}}`,
		`{"probe":null} {}`, `{"unknown":{}}`, `{"finish":{"name":"web","outcome":"\u001b[31m"}}`, `[]`, `null`, `{"alive":{"seconds":-1}}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if within, ok := SignOfLife(line); ok && within <= 0 {
			t.Errorf("a sign of life for %s", within)
		}
		req, err := Decode(line)
		if err != nil {
			return
		}
		again, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		req2, err := Decode(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if third, err := json.Marshal(req2); err != nil || string(third) != string(again) {
			t.Errorf("%s became %s, %v", again, third, err)
		}
	})
}
