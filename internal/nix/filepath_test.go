package nix

import "testing"

// The path is one that Nix 2.26 has printed.
func TestFilePath(t *testing.T) {
	const name = "ferry-token-69eae3ed658074d146019c472b4fa51d"
	if got, want := FilePath(name, []byte(name+"\n")), "/nix/store/0npf29pq0y1dg6ga9f9qrp7kvyhi6n2x-"+name; string(got) != want {
		t.Errorf("got %s, wanted %s", got, want)
	}
}
