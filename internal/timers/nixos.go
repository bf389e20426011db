package timers

import (
	"fmt"
	"slices"
	"strings"
)

// advice is what a NixOS host's own configuration needs for the timer, by ferry's
// module for hosts.
func advice(req Request) string {
	option := "update"
	if req.Kind == KindFlakeUpdate {
		option = "flakeUpdate"
	}
	option = "ferry.host.timers." + option
	if req.Remove {
		return fmt.Sprintf("# Take %s out of the configuration of the host.\n", option)
	}
	n := nixSet{}
	n.words("onCalendar", req.Schedule.OnCalendar)
	if s := int(req.Schedule.Delay.Seconds()); s > 0 {
		n.line("randomizedDelaySec", fmt.Sprint(s))
	}
	if u := req.Settings.Update; u != nil && req.Kind == KindUpdate {
		n.update(u)
	}
	if f := req.Settings.FlakeUpdate; f != nil && req.Kind == KindFlakeUpdate {
		n.word("repository", f.Repository)
		n.word("branch", f.Branch)
		n.word("push", f.Push)
		n.words("inputs", f.Inputs)
	}
	return fmt.Sprintf(`# In the host's own configuration, with ferry.nixosModules.host imported (docs/nix.md):
{
  ferry.host.enable = true;
  %s = {
    enable = true;
%s  };
}
`, option, n.String())
}

// nixSet is the inside of an attribute set. What is empty is left out of it.
type nixSet struct{ strings.Builder }

func (n *nixSet) line(name, value string) { fmt.Fprintf(n, "    %s = %s;\n", name, value) }

func (n *nixSet) word(name, value string) {
	if value != "" {
		n.line(name, nixString(value))
	}
}

func (n *nixSet) words(name string, values []string) {
	if len(values) == 0 {
		return
	}
	var quoted []string
	for _, v := range values {
		quoted = append(quoted, nixString(v))
	}
	n.line(name, "[ "+strings.Join(quoted, " ")+" ]")
}

func (n *nixSet) yes(name string, value bool) {
	if value {
		n.line(name, "true")
	}
}

func (n *nixSet) update(u *Update) {
	n.word("hydra", u.Hydra)
	n.word("from", u.From)
	n.yes("fromFlake", u.FromFlake)
	n.yes("anyFlake", u.AnyFlake)
	n.words("allowRedirect", u.AllowRedirect)
	n.yes("allowHttp", u.TakesHTTP())
	n.yes("allowOlder", u.AllowOlder)
	n.word("netrc", u.Netrc)
	n.word("cache", u.Cache)
	n.words("vms", u.VMs)
	for _, t := range u.Target {
		vm, address, _ := strings.Cut(t, "=")
		of := "targets." + nixString(vm)
		n.word(of+".address", address)
		n.yes(of+".sudo", slices.Contains(u.TargetSudo, vm))
	}
	n.word("restart", u.Restart)
	n.yes("noRollback", u.NoRollback)
}

// nixString is s as a Nix string.
func nixString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `${`, `\${`, "\n", `\n`).Replace(s) + `"`
}
