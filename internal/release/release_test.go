package release

import "testing"

func TestProgramsAreToldTheirCommit(t *testing.T) {
	const name = " -X ferry/internal/cmdline."
	for _, c := range []struct {
		b    Build
		want string
	}{
		{Build{}, ""},
		{Build{Version: "v1.2.0"}, name + "release=v1.2.0"},
		{Build{Commit: Commit{ID: "3146ebc", Date: "2026-11-24T12:44:18Z", Modified: true}},
			name + "commit=3146ebc" + name + "date=2026-11-24T12:44:18Z" + name + "modified=true"},
	} {
		if got := c.b.stamp(); got != c.want {
			t.Errorf("%+v: %q, wanted %q", c.b, got, c.want)
		}
	}
}
