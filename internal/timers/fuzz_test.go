package timers

import (
	"encoding/json"
	"testing"
)

// A request becomes unit files of root's: one that is accepted is of a known kind
// and is read the same way again.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"kind":"update"}`))
	f.Add([]byte(`{"kind":"flake-update","x":1}`))
	f.Add([]byte(`{"kind":"\n[Service]\nExecStart=/bin/sh"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRequest(data)
		if err != nil {
			return
		}
		if r.Kind != KindUpdate && r.Kind != KindFlakeUpdate {
			t.Errorf("kind %q", r.Kind)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeRequest(again); err != nil {
			t.Errorf("%s became %s: %v", data, again, err)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	f.Add("web=root@web:22")
	f.Add("=local")
	f.Fuzz(func(t *testing.T, s string) {
		n, a, err := parseTarget(s)
		if err == nil && (n == "" || a.Local || a.Host == "") {
			t.Errorf("%q became %q, %v", s, n, a)
		}
	})
}
