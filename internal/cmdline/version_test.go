package cmdline

import (
	"runtime/debug"
	"testing"
)

func TestVersionHasCommitAndDate(t *testing.T) {
	const commit = "3146ebc8d6af00112233445566778899aabbccdd"
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.time", Value: "2026-11-24T12:44:18Z"}, {Key: "vcs.modified", Value: modified}}
	}
	for _, c := range []struct {
		version, tag, want string
		settings           []debug.BuildSetting
	}{
		{"v1.2.0", "", "v1.2.0 (commit 3146ebc8d6af of 2026-11-24T12:44:18Z)", vcs("false")},
		{"v1.2.0+dirty", "", "v1.2.0 (commit 3146ebc8d6af of 2026-11-24T12:44:18Z, with changes)", vcs("true")},
		{"v0.0.0-20261124124418-3146ebc8d6af", "", "development (commit 3146ebc8d6af of 2026-11-24T12:44:18Z)", vcs("false")},
		{"(devel)", "v1.3.0", "v1.3.0 (commit 3146ebc8d6af of 2026-11-24T12:44:18Z)", vcs("false")},
		{"(devel)", "", "development", nil},
		{"", "v1.3.0", "v1.3.0", nil},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: c.version}, Settings: c.settings}
		if got := describeBuild(info, stamp{release: c.tag}).String(); got != c.want {
			t.Errorf("%s, %q: %s, wanted %s", c.version, c.tag, got, c.want)
		}
	}
	if got := describeBuild(nil, stamp{}).String(); got != "development" {
		t.Errorf("without build information: %s", got)
	}
}

// Nix builds from a tree without a history, and knows the commit itself.
func TestVersionThatTheBuildWasTold(t *testing.T) {
	told := stamp{commit: "3146ebc8d6af00112233445566778899aabbccdd", date: "2026-11-24T12:44:18Z", modified: "true"}
	for _, c := range []struct {
		info *debug.BuildInfo
		told stamp
		want string
	}{
		{&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, told, "development (commit 3146ebc8d6af of 2026-11-24T12:44:18Z, with changes)"},
		{nil, stamp{release: "v1.2.0", commit: told.commit}, "v1.2.0 (commit 3146ebc8d6af)"},
		// A date or changes say nothing without the commit.
		{nil, stamp{date: told.date, modified: "true"}, "development"},
	} {
		if got := describeBuild(c.info, c.told).String(); got != c.want {
			t.Errorf("%+v: %s, wanted %s", c.told, got, c.want)
		}
	}
}
