package timers

import (
	"encoding/json"
	"fmt"
	"strings"
)

// advice is what a NixOS host's own configuration needs for the timer.
func advice(req Request) string {
	if req.Remove {
		return fmt.Sprintf("# Take systemd.services.ferry-%s and systemd.timers.ferry-%s out of the\n# configuration of the host.\n", req.Kind, req.Kind)
	}
	settings := Settings{}
	if req.Kind == KindUpdate {
		settings.Update = req.Settings.Update
	} else {
		settings.FlakeUpdate = req.Settings.FlakeUpdate
	}
	b, _ := json.MarshalIndent(settings, "", "  ") // strings, lists and booleans
	var calendar []string
	for _, c := range req.Schedule.OnCalendar {
		calendar = append(calendar, nixString(c))
	}
	var out strings.Builder
	fmt.Fprintf(&out, `# In the host's own configuration; ferry is this program's package:
{
  environment.etc."ferry/timers.json".text = ''
%s
  '';
  systemd.services.ferry-%[2]s = {
    description = %[3]s;
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    path = [ config.nix.package pkgs.git pkgs.openssh ];
    environment.HOME = "/root";
    serviceConfig = { Type = "oneshot"; ExecStart = "${ferry}/bin/ferry host timer run %[2]s"; };
  };
  systemd.timers.ferry-%[2]s = {
    wantedBy = [ "timers.target" ];
    timerConfig = { OnCalendar = [ %[4]s ]; RandomizedDelaySec = %[5]d; Persistent = true; };
  };
}
`, indentedNix(string(b)), req.Kind, nixString(req.Kind.description()), strings.Join(calendar, " "), int(req.Schedule.Delay.Seconds()))
	return out.String()
}

// nixString is s as a Nix string.
func nixString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `${`, `\${`).Replace(s) + `"`
}

// indentedNix puts text into an indented Nix string.
func indentedNix(text string) string {
	text = strings.NewReplacer(`''`, `'''`, `${`, `''${`).Replace(text)
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}
