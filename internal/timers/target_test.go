package timers

import (
	"testing"

	"ferry/internal/microvm"
)

// Where the system inside a VM is comes out of the settings as it went in.
func TestTargets(t *testing.T) {
	web := microvm.Address{User: "root", Host: "fd00::1", Port: 2222}
	u := Update{FromFlake: true}
	u.SetTarget("web", web, true)
	u.SetTarget("db", microvm.Address{Host: "db"}, false)
	b, err := Settings{Update: &u}.encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Decode(b)
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if a, sudo := s.Update.TargetOf("web"); a == nil || *a != web || !sudo {
		t.Errorf("web: %v, %t in %s", a, sudo, b)
	}
	if a, sudo := s.Update.TargetOf("db"); a == nil || a.Host != "db" || sudo {
		t.Errorf("db: %v, %t", a, sudo)
	}
	if a, sudo := s.Update.TargetOf("other"); a != nil || sudo {
		t.Errorf("other: %v, %t", a, sudo)
	}
}
