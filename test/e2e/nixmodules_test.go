//go:build lab

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferry/internal/lab"
	"ferry/internal/timers"
)

// nixParts are what ferry's modules and their tests are made of.
var nixParts = []string{"nix", "internal/flake/record.nix", "internal/host/units", "internal/lab/flake/microvm/lib"}

// bringNix copies ferry's Nix to a machine of the lab, and returns where it is.
func bringNix(t *testing.T, m *lab.Machine) string {
	t.Helper()
	const dir = "/root/t/nix-modules"
	output(t, m, "rm", "-rf", dir)
	for _, part := range nixParts {
		out, err := exec.Command("sh", "-euc", `mkdir -p "$(dirname "$2")"; cp -a "$1" "$2"`, "sh",
			filepath.Join("../..", part), m.Path(filepath.Join(dir, part))).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return dir
}

// What Nix itself has to say of the modules: their own tests hold, and the reference
// of their options is that of these modules.
func TestNixModules(t *testing.T) {
	dir := bringNix(t, world.operator)
	files, err := filepath.Glob("../../nix/tests/*.nix")
	if err != nil {
		t.Fatal(err)
	}
	tested := 0
	for _, file := range files {
		// The others are imported.
		if name := filepath.Base(file); name != "default.nix" && !strings.HasSuffix(name, "-once.nix") {
			tested++
			bad := output(t, world.operator, "nix", "eval", "--impure", "--json", "--file", dir+"/nix/tests/"+name,
				"--apply", "f: map (t: removeAttrs t [ ]) (builtins.filter (t: !t.ok) (f { }))")
			if bad != "[]" {
				t.Errorf("%s: %s", name, bad)
			}
		}
	}
	if tested < 3 {
		t.Errorf("only %d files of tests", tested)
	}
	now := output(t, world.operator, "nix", "eval", "--impure", "--raw", "--file", dir+"/nix/options.nix", "--apply", "f: f { }")
	then, err := os.ReadFile("../../docs/nix-options.md")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(now) != strings.TrimSpace(string(then)) {
		t.Error("docs/nix-options.md is not that of these modules: run `make nix-options`")
	}
}

// unitsOf evaluates a NixOS host with ferry's module, beside the stand-in of
// microvm.nix's, and builds a directory of its units, its settings of timers and its
// rules of tmpfiles. Programs are Debian's.
const unitsOf = `{ dir, host }:
let
  system = "x86_64-linux";
  packages = import (dir + "/nix/standin/nixpkgs") { inherit system; };
  inherit (packages) lib;
  usr = name: { type = "derivation"; inherit name; outPath = "/usr"; };
  pkgs = packages
    // lib.genAttrs [ "coreutils" "util-linux" "git" "openssh" "systemd" "nix" ] usr
    // { runtimeShell = "/bin/sh"; };
  ferry.packages.${system}.ferry = usr "ferry" // { outPath = "/usr/local"; };
  inherit ((import (dir + "/nix/standin/nixpkgs/nixos.nix") { inherit lib; pkgsFor = _: pkgs; } {
    inherit system;
    specialArgs.dir = dir;
    modules = [
      (dir + "/nix/standin/microvm/host.nix")
      (import (dir + "/nix/modules/host.nix") { inherit ferry; })
      { ferry.host.enable = true; }
      host
    ];
  })) config;
  rule = path: type: r: "${type} ${path} ${r.mode} ${r.user} ${r.group}\n";
  files = lib.mapAttrs (_: u: u.text) (lib.filterAttrs (_: u: u.overrideStrategy != "asDropin") config.systemd.units) // {
    "tmpfiles.conf" = lib.concatStrings (lib.concatMap (rules:
      lib.concatLists (lib.mapAttrsToList (path: types: lib.mapAttrsToList (rule path) types) rules))
      (lib.attrValues config.systemd.tmpfiles.settings));
    wanted = lib.concatStrings (lib.concatLists (lib.mapAttrsToList (name: u: map (by: "${by} ${name}\n") u.wantedBy) config.systemd.units));
    "timers.json" = config.environment.etc."ferry/timers.json".text or "{}";
  };
  put = name: text: "cp ${pkgs.writeText (lib.replaceStrings [ "@" ] [ "-" ] name) text} \"$out/${name}\"\n";
in
builtins.seq config.system.build.toplevel (pkgs.runCommand "host-units" { } (
  "mkdir $out\n" + lib.concatStrings (lib.mapAttrsToList put files)))
`

// likeNixOS makes these units those of the host, in place of ferry's.
const likeNixOS = `cd /etc/systemd/system
if [ ! -e /root/ferry-units ]; then
  mkdir /root/ferry-units
  mv microvm*.service microvms.target ferry-settle.service /root/ferry-units
  stat -c '%u:%g %a' /var/lib/microvms >/root/ferry-units/statedir
fi
rm -f microvm*.service microvms.target ferry-*.service ferry-*.timer install-microvm-*.service
cp "$1"/*.service "$1"/*.target .
for timer in "$1"/*.timer; do [ ! -e "$timer" ] || cp "$timer" .; done
while read -r by unit; do
  mkdir -p "$by.wants"; ln -sfn "/etc/systemd/system/$unit" "$by.wants/$unit"
done <"$1/wanted"
mkdir -p /etc/ferry; cp "$1/timers.json" /etc/ferry/timers.json
systemctl daemon-reload
systemd-tmpfiles --create "$1/tmpfiles.conf"`

const notLikeNixOS = `systemctl stop ferry-update.timer ferry-update.service 2>/dev/null
ferry host protect --undo
cd /etc/systemd/system
rm -rf /etc/ferry microvm*.service microvms.target ferry-*.service ferry-*.timer install-microvm-*.service
rm -rf *.wants/ferry-*protect* *.wants/ferry-*.timer *.wants/install-microvm-*
read -r owner mode </root/ferry-units/statedir
rm /root/ferry-units/statedir
mv /root/ferry-units/* .
chown "$owner" /var/lib/microvms; chmod "$mode" /var/lib/microvms
rm -rf /root/ferry-units
systemctl daemon-reload`

// nixHost is a host with the units of a NixOS configuration.
type nixHost struct {
	t   *testing.T
	dir string // ferry's Nix there
	*lab.Machine
}

// units builds those of the configuration with this module.
func (h *nixHost) units(module string) string {
	h.t.Helper()
	return output(h.t, h.Machine, "nix", "build", "--no-link", "--print-out-paths", "--impure", "--expr",
		fmt.Sprintf("(%s) { dir = %s; host = %s; }", unitsOf, h.dir, module))
}

// becomes gives the host these units.
func (h *nixHost) becomes(module string) {
	h.t.Helper()
	out := h.units(module)
	output(h.t, h.Machine, "sh", "-euc", likeNixOS, "sh", out)
	// Words that this systemd doesn't know, and programs that aren't there.
	said := output(h.t, h.Machine, "sh", "-c", `cd /etc/systemd/system; systemd-analyze verify ferry-*.service microvm@x.service microvm-virtiofsd@x.service 2>&1 | grep -E 'microvm|ferry' | grep -v '/var/lib/microvms/.* is not executable' || :`)
	if said != "" {
		h.t.Errorf("systemd says of these units: %s", said)
	}
}

func (h *nixHost) owner(path string) string {
	h.t.Helper()
	return output(h.t, h.Machine, "stat", "-c", "%U:%G %a", path)
}

// What ferry's module makes of a host, with microvm.nix's units beside it, run on
// Debian: it has not been on NixOS.
func TestNixOSHostModule(t *testing.T) {
	in := newInfra(t, "", map[string]string{"modhost": vmModule("modhost")})
	h := &nixHost{t: t, dir: bringNix(t, world.host1), Machine: world.host1}
	during(t, h.Machine, ":", "systemctl stop microvm@modhost microvm-virtiofsd@modhost; rm -rf /var/lib/microvms/declared /run/modhost-*; "+notLikeNixOS)
	const timer = `ferry.host.startGate = { enable = true; startsAtOnce = 1; bootSeconds = 0; };
		ferry.host.timers.update = { enable = true; onCalendar = [ "` + everyFew + `" ]; vms = [ "modhost" ]; from = "/root/t/nix-modules/runners.json"; restart = "never"; }; `
	h.becomes("{ " + timer + "}")
	if got := h.owner("/var/lib/microvms"); got != "microvm:kvm 775" {
		t.Fatalf("the state directory is %s", got)
	}

	in.ferry("rebuild", "modhost", toHost1).want(0, "started")
	vm := onHost(t, h.Machine, "modhost")
	if got := output(t, h.Machine, "systemctl", "show", "-P", "InactiveExitTimestampMonotonic", "microvm-start-gate@modhost"); got == "0" {
		t.Error("it didn't wait at the gate")
	}
	output(t, h.Machine, "systemctl", "start", "ferry-settle.service")
	if got := output(t, h.Machine, "systemctl", "show", "-P", "ActiveState", "ferry-settle.service"); got != "active" {
		t.Errorf("after settling, the unit is %s", got)
	}

	// The timer is one that `ferry host timer` knows, and it works.
	output(t, h.Machine, "sh", "-euc", `printf '{"modhost": "%s"}' "$1" >/root/t/nix-modules/runners.json; systemctl start ferry-update.timer`, "sh", vm.link("current"))
	eventually(t, "a run of the timer has ended well", time.Minute, func() bool {
		s := timerStatus(t, in, timers.KindUpdate)
		return s.Active && s.Result == "success" && s.Error == ""
	})
	in.ferry("host", "timer", "update", "root@host1", "--on-calendar", "daily", "--from-flake").want(1, "is not as ferry made it")
	output(t, h.Machine, "systemctl", "stop", "ferry-update.timer")

	// What it says on NixOS instead is a module that does the same.
	during(t, h.Machine, "touch /etc/NIXOS", "rm -f /etc/NIXOS")
	module := in.ferry("host", "timer", "update", "root@host1", "modhost", "--on-calendar", "daily", "--randomized-delay", "1m",
		"--hydra", "http://h/jobset/a/b", "--allow-http", "--any-flake", "--allow-redirect", "https://cdn", "--allow-older", "--netrc", "/run/netrc",
		"--cache", "https://c", "--target", "admin@box", "--target-sudo", "--restart", "never", "--no-rollback").want(1).stdout
	got := output(t, h.Machine, "cat", h.units(module)+"/timers.json")
	settings, err := timers.Decode([]byte(got))
	yes := true
	want := timers.Settings{Update: &timers.Update{
		Hydra: "http://h/jobset/a/b", AllowHTTP: &yes, AnyFlake: true, AllowRedirect: []string{"https://cdn"}, AllowOlder: true, Netrc: "/run/netrc",
		Cache: "https://c", VMs: []string{"modhost"}, Target: []string{"modhost=admin@box"}, TargetSudo: []string{"modhost"}, Restart: "never", NoRollback: true,
	}}
	if err != nil || !reflect.DeepEqual(settings, want) {
		t.Errorf("by the module the settings are %s, %v:\n%s", got, err, module)
	}
	output(t, h.Machine, "rm", "/etc/NIXOS")

	h.protects(in, vm)
	h.unprotects(vm)
}

// protects turns the protection on while the VM runs: it goes on, is root's, and what
// user microvm does in its directory counts no more.
func (h *nixHost) protects(in *infra, vm vmOn) {
	t := h.t
	as := func(script string) {
		t.Helper()
		if _, err := h.Output(t.Context(), "runuser", "-u", "microvm", "-g", "kvm", "--", "sh", "-euc", "cd "+vm.dir()+"; "+script); err == nil {
			t.Errorf("user microvm can: %s", script)
		}
	}
	invocation := vm.invocation()
	h.becomes(`{ dir, ... }: {
		ferry.host.protectStateDir = true;
		microvm.autostart = [ "modhost" ];
		microvm.vms.declared.autostart = false;
		microvm.vms.declared.flake = {
			outPath = dir;
			nixosConfigurations.declared.config = {
				microvm.declaredRunner = { outPath = "` + vm.link("current") + `"; supportsNotifySocket = false; registerWithMachined = false; };
				microvm.shares = [ ];
				system.build.toplevel = "/nix/store";
			};
		};
	}`)
	output(t, h.Machine, "systemctl", "start", "ferry-protect-state-dir.service")
	if got := h.owner("/var/lib/microvms") + ", " + h.owner(vm.dir()) + ", " + h.owner(vm.dir()+"/booted"); got != "root:root 755, root:kvm 1775, root:root 777" {
		t.Fatalf("the directories and `booted` are %s", got)
	}
	if vm.invocation() != invocation {
		t.Error("the VM was restarted")
	}
	as("mv ../modhost ../x")
	as("ln -sfn /var/tmp current")
	as("rm -f booted")
	vm.systemctl("restart")
	mustBeUp(t, vm)
	if got := output(t, h.Machine, "systemctl", "show", "-P", "User", "microvm@modhost"); got != "microvm" {
		t.Errorf("its hypervisor is %s", got)
	}
	in.write("modhost.nix", vmModule("modhost", `lab.note = "2";`, `microvm.binScripts.tap-up = "id -un >/run/modhost-tap";`,
		`microvm.binScripts.microvm-register = "pwd >/run/modhost-registered; id -un >>/run/modhost-registered";`,
		`microvm.shares = [{ tag = "x"; proto = "virtiofs"; source = "/var/lib/microvms/modhost/data"; mountPoint = "/x"; }];`))
	output(t, h.Machine, "runuser", "-u", "microvm", "-g", "kvm", "--", "sh", "-euc", `cd "$1"; mkdir data; ln -s /root supervisord.log`, "sh", vm.dir())
	in.ferry("rebuild", "modhost", toHost1).want(0, "restarted")
	mustBeUp(t, vm)
	if got := output(t, h.Machine, "cat", "/run/modhost-tap", "/run/modhost-registered"); got != "root\n/\nroot" {
		t.Errorf("its scripts ran as, or in: %q", got)
	}
	output(t, h.Machine, "runuser", "-u", "microvm", "-g", "kvm", "--", "socat", "-u", "OPEN:/dev/null", "UNIX-CONNECT:"+vm.dir()+"/modhost-virtiofs-x.sock")

	// A VM of the host's own configuration: no link is followed that was there.
	output(t, h.Machine, "sh", "-euc", `cd /var/lib/microvms; mkdir declared; chown root:kvm declared; chmod 1775 declared; cd declared
runuser -u microvm -g kvm -- ln -s /run/modhost-canary flake; runuser -u microvm -g kvm -- ln -s /tmp current
systemctl start install-microvm-declared`)
	if got := output(t, h.Machine, "sh", "-c", `cd /var/lib/microvms/declared; stat -c '%U %F' . current flake; readlink current; cat flake; ls /run/modhost-canary 2>/dev/null || :`); !strings.HasPrefix(got, "root directory\nroot symbolic link\nroot regular file\n"+vm.link("old")+"\n/nix/store/") || strings.Contains(got, "canary") {
		t.Errorf("it was installed as\n%s", got)
	}

	// When the host boots, everything has its turn before the VM.
	if err := h.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the VM starts with the host", time.Minute, func() bool { return vm.property("ActiveState") == "active" })
	when := func(what, unit string) int {
		t.Helper()
		n, err := strconv.Atoi(output(t, h.Machine, "systemctl", "show", "-P", what, unit))
		if err != nil || n == 0 {
			t.Fatalf("%s of %s is %d, %v", what, unit, n, err)
		}
		return n
	}
	protected, settled := when("ActiveEnterTimestampMonotonic", "ferry-protect-state-dir"), when("ActiveEnterTimestampMonotonic", "ferry-settle")
	if began := when("InactiveExitTimestampMonotonic", "microvm-set-booted@modhost"); protected > settled || settled > began {
		t.Errorf("protected at %d, settled at %d, the VM began at %d", protected, settled, began)
	}

	// A runner that user microvm has planted runs as nobody.
	current := vm.link("current")
	vm.systemctl("stop")
	vm.allDown()
	output(t, h.Machine, "sh", "-euc", `cd "$1"; rm /run/modhost-tap current; runuser -u microvm -g kvm -- ln -s "$2" current`, "sh", vm.dir(), current)
	if _, err := h.Output(t.Context(), "systemctl", "start", "microvm@modhost"); err == nil {
		t.Error("a planted `current` was started")
	}
	if _, err := h.Output(t.Context(), "systemctl", "start", "microvm-tap-interfaces@modhost"); err == nil {
		t.Error("a planted `tap-up` was run")
	}
	output(t, h.Machine, "systemctl", "restart", "ferry-protect-state-dir.service")
	output(t, h.Machine, "sh", "-euc", `cd "$1"; [ ! -e /run/modhost-tap ]; [ "$(stat -c %U current)" = microvm ]; rm current; ln -s "$2" current; systemctl reset-failed "microvm*@modhost.service"`, "sh", vm.dir(), current)
	vm.systemctl("start")
}

// unprotects turns it off again: owners are microvm.nix's, whose units work.
func (h *nixHost) unprotects(vm vmOn) {
	t := h.t
	h.becomes("{ }")
	output(t, h.Machine, "systemctl", "start", "ferry-unprotect-state-dir.service")
	if got := h.owner("/var/lib/microvms") + ", " + h.owner(vm.dir()+"/booted"); got != "microvm:kvm 775, microvm:kvm 777" {
		t.Errorf("the state directory and `booted` are %s", got)
	}
	vm.systemctl("restart")
	mustBeUp(t, vm)
	if got := h.owner(vm.dir() + "/booted"); got != "microvm:kvm 777" {
		t.Errorf("`booted` is %s", got)
	}
}
