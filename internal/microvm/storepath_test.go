package microvm

import (
	"encoding/json"
	"strings"
	"testing"
)

const hash = "0123456789abcdfghijklmnpqrsvwxyz"

func TestParseStorePath(t *testing.T) {
	for s, ok := range map[string]bool{
		"/nix/store/" + hash + "-web":                               true,
		"/nix/store/" + hash + "-a+b._?=-9.drv":                     true,
		"/nix/store/" + hash + "-" + strings.Repeat("n", 211):       true,
		"/nix/store/" + hash + "-" + strings.Repeat("n", 212):       false,
		"/nix/store/" + hash:                                        false,
		"/nix/store/" + hash + "-":                                  false,
		"/nix/store/" + hash + "-web/bin":                           false,
		"/nix/store/" + hash + "-web\n":                             false,
		"/nix/store/" + hash + "-we b":                              false,
		"/nix/store/" + hash + "-we'b":                              false,
		"/nix/store/" + strings.Replace(hash, "0", "e", 1) + "-web": false, // e, o, u, t are in no hash
		"/nix/store/" + hash[1:] + "-web":                           false,
		"/nix/store/../store/" + hash + "-web":                      false,
		"nix/store/" + hash + "-web":                                false,
		"/gnu/store/" + hash + "-web":                               false,
		"":                                                          false,
	} {
		got, err := ParseStorePath(s)
		if (err == nil) != ok {
			t.Errorf("ParseStorePath(%q): error %v, want ok %v", s, err, ok)
		}
		if ok && string(got) != s || !ok && got != "" {
			t.Errorf("ParseStorePath(%q) = %q", s, got)
		}
	}
}

func TestStorePathIsCheckedInJSON(t *testing.T) {
	var o Output
	good := "/nix/store/" + hash + "-web.drv"
	if err := json.Unmarshal([]byte(`{"drv":"`+good+`","out":""}`), &o); err != nil || string(o.Drv) != good || o.Out != "" {
		t.Errorf("%+v, %v", o, err)
	}
	if err := json.Unmarshal([]byte(`{"drv":"/etc/passwd"}`), &o); err == nil || o.Drv != "" {
		t.Errorf("a path outside the store was taken: %+v", o)
	}
}

func TestIsDerivation(t *testing.T) {
	for s, want := range map[StorePath]bool{
		"/nix/store/" + hash + "-web.drv": true,
		"/nix/store/" + hash + "-web":     false,
		".drv":                            false,
		"":                                false,
	} {
		if s.IsDerivation() != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
