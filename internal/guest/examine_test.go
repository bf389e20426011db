package guest

import (
	"testing"
	"time"
)

// Looking at a guest takes no root there, and what it says is bounded.
func TestExamine(t *testing.T) {
	h := &here{}
	e, err := Examine(t.Context(), h, "")
	if err != nil || e.HostName == "" || e.BootID == "" || e.HasStore || time.Since(e.Now).Abs() > time.Minute || e.Up <= 0 || h.asRoot {
		t.Errorf("%+v, %v, as root: %t", e, err, h.asRoot)
	}
	e, err = Examine(t.Context(), &scripted{output: "MARKER boot=b1\nMARKER now=99999999999999999999\nMARKER up=-3\nMARKER current=/etc\nMARKER armed=../../etc\n"}, "")
	if err != nil || !e.Now.IsZero() || e.Up != 0 || e.Current != "" || e.Armed != "" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := Examine(t.Context(), &scripted{output: "no shell here\n"}, ""); err == nil {
		t.Error("an answer without a boot id was accepted")
	}
}
