package microvmcmd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"ferry/internal/cmdline"
	"ferry/internal/microvm"
)

// What microvm.nix's script takes, this takes, and it means the same.
func TestParse(t *testing.T) {
	for line, want := range map[string]Options{
		"":                             {},
		"-c web":                       {Action: ActionCreate, Name: "web"},
		"-cweb":                        {Action: ActionCreate, Name: "web"},
		"-f /etc/infra -c web":         {Action: ActionCreate, Name: "web", Flake: "/etc/infra"},
		"-c web -f git+https://x/y":    {Action: ActionCreate, Name: "web", Flake: "git+https://x/y"},
		"-u":                           {Action: ActionUpdate},
		"-u web db":                    {Action: ActionUpdate, Names: []microvm.Name{"web", "db"}},
		"-Ru web":                      {Action: ActionUpdate, Names: []microvm.Name{"web"}, Restart: true},
		"-uR web":                      {Action: ActionUpdate, Names: []microvm.Name{"web"}, Restart: true},
		"-R -u -- web":                 {Action: ActionUpdate, Names: []microvm.Name{"web"}, Restart: true},
		"-r web":                       {Action: ActionRun, Name: "web"},
		"-l":                           {Action: ActionList},
		"-c web -l":                    {Action: ActionList},
		"-R":                           {Restart: true},
		"-s web":                       {Action: ActionSSH, Name: "web"},
		"-s web uname -a":              {Action: ActionSSH, Name: "web", Command: []string{"uname", "-a"}},
		"-s web -- -p 22 -l ann":       {Action: ActionSSH, Name: "web", SSH: true, Command: []string{"-p", "22", "-l", "ann"}},
		"-s web -- -- -v":              {Action: ActionSSH, Name: "web", SSH: true, Command: []string{"-v"}},
		"-s web systemctl -- list -l":  {Action: ActionSSH, Name: "web", Command: []string{"systemctl", "--", "list", "-l"}},
		"-Rfpath:/x -u old-web new-db": {Action: ActionUpdate, Names: []microvm.Name{"old-web", "new-db"}, Restart: true, Flake: "path:/x"},
	} {
		got, err := Parse(strings.Fields(line))
		if err != nil || got.Action != want.Action || got.Name != want.Name || got.Flake != want.Flake || got.Restart != want.Restart ||
			got.SSH != want.SSH || !slices.Equal(got.Names, want.Names) || !slices.Equal(got.Command, want.Command) {
			t.Errorf("%q: %+v, %v; wanted %+v", line, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"-x": "unknown option", "-C x": "unknown option", "--help": "unknown option", "-Rx": "unknown option",
		"-c": "needs a value", "-u -f": "needs a value", "-s": "needs a value",
		"web": "unexpected argument", "-l web": "unexpected argument", "-c web db": "unexpected argument",
		"-u web -R": "options come first", "-u ..": "name", "-c ../etc": "name", "-r .": "name", "-s a/b": "name",
	} {
		_, err := Parse(strings.Fields(line))
		var usage *cmdline.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) || usage.Hint() == "" {
			t.Errorf("%q: %v, wanted %q", line, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"-Ru\x00web", "-s\x00web\x00--\x00-v", "-c\x00web\x00-f\x00.", "-", "--"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, err := Parse(strings.Split(line, "\x00"))
		if err != nil {
			return
		}
		for _, n := range append(o.Names, o.Name) {
			if _, err := microvm.ParseName(string(n)); n != "" && err != nil {
				t.Errorf("%q: the name %q", line, n)
			}
		}
		if named := o.Action == ActionCreate || o.Action == ActionRun || o.Action == ActionSSH; named && o.Name == "" {
			t.Errorf("%q: no name", line)
		}
	})
}
