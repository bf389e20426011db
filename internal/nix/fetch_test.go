package nix

import (
	"slices"
	"strings"
	"testing"

	"ferry/internal/microvm"
)

func TestFetchFailure(t *testing.T) {
	const asked, other = microvm.StorePath("/nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-a"), microvm.StorePath("/nix/store/ab9zv2y5gm8hr6g318p0s6kaclwj4slr-b")
	for _, c := range []struct {
		said string
		kind FetchKind
		path microvm.StorePath
	}{
		{"error: cannot add path '" + string(other) + "' because it lacks a signature by a trusted key", FetchUnsigned, other},
		{"warning: ignoring substitute for '" + string(other) + "' from 'http://c', as it's not signed by any of the keys in 'trusted-public-keys'", FetchUnsigned, other},
		{"error: path '" + string(asked) + "' does not exist in the store", FetchMissing, asked},
		{"error: path '" + string(asked) + "' is not valid", FetchMissing, asked},
		{"error: unable to download 'http://c/nix-cache-info': Could not resolve hostname (6)", FetchUnreachable, asked},
		{"error: unable to download 'http://c/nix-cache-info': Couldn't connect to server (7)", FetchUnreachable, asked},
		{"error: unable to download 'http://c/nar/x': Timeout was reached (28) Operation too slow. Less than 1 bytes/sec transferred the last 2 seconds", FetchStalled, asked},
		{"error: unable to download 'http://c/nar/x': HTTP error 206 (curl error: Timeout was reached)", FetchStalled, asked},
		{"error: something else", FetchUnknown, asked},
	} {
		kind, path := fetchFailure([]string{"first", c.said}, asked)
		if kind != c.kind || path != c.path {
			t.Errorf("%s: %d, %s", c.said, kind, path)
		}
	}
}

func TestKeyNames(t *testing.T) {
	sig := strings.Repeat("A", 86) + "=="
	said := "/nix/store/y26qxcq1gg2hrqpxdc58b2fghv2bhxjg-a ultimate ca:fixed:x cache-1:" + sig + " other-1:" + sig + " cache-1:" + sig
	if got := keyNames(said); !slices.Equal(got, []string{"cache-1", "other-1"}) {
		t.Error(got)
	}
}
