package transfer

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"ferry/internal/microvm"
	"ferry/internal/nix/nixtest"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

// warnings is a Reporter that keeps what it is warned of.
type warnings []string

func (w *warnings) Warn(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) }
func (w *warnings) Step(string, ...any)             {}
func (w *warnings) Detail(string, ...any)           {}
func (w *warnings) Log() io.WriteCloser             { return discard{} }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// Nix ignores what an untrusted user sets, in silence: ferry says so before the
// build.
// nix-community/infra#1598
func TestUntrustedOperatorIsTold(t *testing.T) {
	restricted := []string{"--option", "extra-substituters", "https://cache.example.org", "--option", "cores", "2", "--option", "trusted-public-keys", "k"}
	address := microvm.Address{User: "root", Host: "host1"}
	for _, c := range []struct {
		name    string
		options []string
		on      microvm.BuildPlace
		trusted string // empty: Nix is not asked
		want    string
	}{
		{"untrusted", restricted, microvm.BuildPlace{Local: true}, "0", "--option extra-substituters, --option trusted-public-keys: Nix on this machine ignores it"},
		{"trusted", restricted, microvm.BuildPlace{Local: true}, "1", ""},
		{"nothing restricted", []string{"--option", "cores", "2"}, microvm.BuildPlace{Local: true}, "", ""},
		{"on the host", restricted, microvm.BuildPlace{}, "", "root@host1 builds with the settings of its own nix.conf"},
		{"on a builder", restricted, microvm.BuildPlace{Builder: &microvm.Address{Host: "b"}}, "", "b builds with the settings of its own nix.conf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var calls []nixtest.Call
			if c.trusted != "" {
				calls = append(calls, nixtest.Call{
					Args: []string{"nix", "--extra-experimental-features", "nix-command flakes", "store", "info", "--json"}, Stdout: `{"trusted":` + c.trusted + `}`,
				})
			}
			var said warnings
			n := nixtest.New(t, calls...)
			w := Way{To: address, Report: &said, Nix: func(io.Writer) Nix { return n }}
			w.warnIgnored(t.Context(), c.options, c.on)
			if all := strings.Join(said, "\n"); (all == "") != (c.want == "") || !strings.Contains(all, c.want) {
				t.Errorf("said %q", all)
			}
		})
	}
}

func TestBuildOptions(t *testing.T) {
	got := buildOptions([]string{"--override-input", "a", "b", "--option", "cores", "1", "--impure", "--offline", "--netrc-file", "n", "--show-trace", "--log-format", "raw"})
	if want := []string{"--option", "cores", "1", "--offline", "--netrc-file", "n"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
