package microvmcmd

import (
	"fmt"
	"strings"

	"ferry/internal/cmdline"
	"ferry/internal/microvm"
)

// DefaultFlake is where a VM is created from unless `-f` says otherwise.
const DefaultFlake = "git+file:///etc/nixos"

// Action is what one run of the command does.
type Action int

// The actions, by their options. Help is also what no option means.
const (
	ActionHelp   Action = iota
	ActionCreate        // -c NAME
	ActionUpdate        // -u [NAME…]
	ActionRun           // -r NAME
	ActionSSH           // -s NAME [CMD…|-- SSH OPTIONS]
	ActionList          // -l
)

// Options are a parsed command line.
type Options struct {
	Action  Action
	Name    microvm.Name   // of -c, -r and -s
	Names   []microvm.Name // of -u; none: all
	Flake   string         // of -f; empty where it was not given
	Restart bool           // -R
	Command []string       // of -s, behind the name
	SSH     bool           // -s: Command begins with options of ssh
}

func wrong(format string, args ...any) error {
	return &cmdline.UsageError{Err: fmt.Errorf(format, args...), Next: "`microvm` alone shows the options"}
}

// withValue and without are the command's options, as getopts(1) knows them.
const (
	withValue = "cfrs"
	without   = "uRl"
)

// Parse reads a command line as getopts in microvm.nix's script does: options
// can be joined (`-Ru web`), a value may stand right behind its letter or be the
// next word, the last action wins, and options end at the first other word or at
// `--`. Where the script shows its help and succeeds, or takes an option for a
// VM's name, the error is a *cmdline.UsageError.
func Parse(args []string) (Options, error) {
	var o Options
	name := ""
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		word := args[0][1:]
		args = args[1:]
		if word == "-" {
			o.SSH = o.Action == ActionSSH
			break
		}
		for word != "" {
			letter := word[:1]
			word = word[1:]
			switch {
			case strings.Contains(without, letter):
			case !strings.Contains(withValue, letter):
				return o, wrong("unknown option %.40q", "-"+letter+word)
			case word == "" && len(args) == 0:
				return o, wrong("option -%s needs a value", letter)
			case word == "":
				word, args = args[0], args[1:]
			}
			if o.set(letter, word, &name) {
				word = ""
			}
		}
	}
	return o, o.finish(name, args)
}

// set takes one option; it reports whether that used the value.
func (o *Options) set(letter, value string, name *string) (used bool) {
	switch letter {
	case "u":
		o.Action = ActionUpdate
	case "l":
		o.Action = ActionList
	case "R":
		o.Restart = true
	case "f":
		o.Flake = value
	case "c", "r", "s":
		o.Action = map[string]Action{"c": ActionCreate, "r": ActionRun, "s": ActionSSH}[letter]
		*name = value
	}
	return strings.Contains(withValue, letter)
}

// finish checks the name and gives the remaining words their meaning.
func (o *Options) finish(name string, rest []string) error {
	var err error
	switch o.Action {
	case ActionHelp, ActionList:
		return noMore(rest)
	case ActionUpdate:
		for _, word := range rest {
			if strings.HasPrefix(word, "-") {
				return wrong("%.40q comes after a name; options come first: microvm -Ru NAME", word)
			}
			n, err := microvm.ParseName(word)
			if err != nil {
				return wrong("%v", err)
			}
			o.Names = append(o.Names, n)
		}
		return nil
	}
	if o.Name, err = microvm.ParseName(name); err != nil {
		return wrong("%v", err)
	}
	if o.Action == ActionSSH {
		o.Command = rest
		if len(rest) > 0 && o.SSH && rest[0] == "--" { // `-s NAME -- -- -v`: what the script wants
			o.Command = rest[1:]
		}
		return nil
	}
	return noMore(rest)
}

func noMore(rest []string) error {
	if len(rest) > 0 {
		return wrong("unexpected argument %.40q", rest[0])
	}
	return nil
}

// Help is what `microvm` alone prints.
const Help = `Usage: microvm OPTIONS

Creates, updates, runs and lists the MicroVMs of this host.

  -c NAME     create a MicroVM from nixosConfigurations.NAME of a flake
  -u [NAME…]  update (rebuild) MicroVMs from their flakes; all without a name
  -r NAME     run a MicroVM in the foreground
  -s NAME [COMMAND…]
  -s NAME -- SSH OPTIONS
              log in over vsock, as root unless the options say otherwise
  -l          list MicroVMs and compare them with their flakes

  -f FLAKE    with -c: the flake, instead of ` + DefaultFlake + `
  -R          with -u: restart what changed, start what does not run

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 some MicroVMs failed, others are
done; 5 locked by a deployment; 130 interrupted.

Examples:
  microvm -c web                  create it from ` + DefaultFlake + `
  microvm -c web -f .             … or from the flake in this directory
  microvm -Ru web db              update both and restart what changed
  microvm -s web systemctl status
`
