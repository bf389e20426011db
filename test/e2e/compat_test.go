//go:build lab

package e2e

import (
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
	"ferry/internal/lab"
)

// likeMicrovmNix lays a host out as microvm.nix's host module and command do,
// by their documentation and options: the state directory is the VM user's, the
// units start `current` and note what they booted as that user, and a VM is a
// directory with `current`, `flake` and its roots.
const likeMicrovmNix = `mkdir /root/ferry-units
mv /etc/systemd/system/microvm*.service /root/ferry-units
stat -c '%u:%g %a' /var/lib/microvms >/root/ferry-units/statedir
chown microvm:kvm /var/lib/microvms; chmod 0775 /var/lib/microvms
unit() { cat >"/etc/systemd/system/$1.service"; }
helper() { unit "microvm-$1@" <<END
[Unit]
Description=MicroVM helper $1
Before=microvm@%i.service
PartOf=microvm@%i.service
After=microvm-set-booted@%i.service
ConditionPathExists=/var/lib/microvms/%i/current/bin/$2
[Service]
Type=$3
RemainAfterExit=$4
WorkingDirectory=/var/lib/microvms/%i
ExecStart=/var/lib/microvms/%i/current/bin/$2
END
}
helper tap-interfaces tap-up oneshot yes
helper macvtap-interfaces macvtap-up oneshot yes
helper pci-devices pci-setup oneshot yes
helper virtiofsd virtiofsd-run notify no
unit microvm-set-booted@ <<'END'
[Unit]
Description=MicroVM booted
Before=microvm@%i.service
PartOf=microvm@%i.service
[Service]
Type=oneshot
RemainAfterExit=yes
User=microvm
Group=kvm
WorkingDirectory=/var/lib/microvms/%i
ExecStart=/bin/sh -c 'rm -f booted; ln -s $(readlink current) booted'
ExecStop=/bin/rm booted
END
unit microvm@ <<'END'
[Unit]
Description=MicroVM %i
Requires=microvm-tap-interfaces@%i.service microvm-macvtap-interfaces@%i.service microvm-pci-devices@%i.service microvm-virtiofsd@%i.service microvm-set-booted@%i.service
After=microvm-tap-interfaces@%i.service microvm-macvtap-interfaces@%i.service microvm-pci-devices@%i.service microvm-virtiofsd@%i.service microvm-set-booted@%i.service
ConditionPathExists=/var/lib/microvms/%i/current/bin/microvm-run
[Service]
Type=simple
User=microvm
Group=kvm
WorkingDirectory=/var/lib/microvms/%i
ExecStart=/var/lib/microvms/%i/current/bin/microvm-run
ExecStop=/var/lib/microvms/%i/booted/bin/microvm-shutdown
Restart=always
RestartSec=5s
END
systemctl daemon-reload`

const likeFerry = `rm -f /etc/systemd/system/microvm*.service
mv /root/ferry-units/microvm*.service /etc/systemd/system/
read -r owner mode </root/ferry-units/statedir
chown "$owner" /var/lib/microvms; chmod "$mode" /var/lib/microvms
rm -rf /root/ferry-units
systemctl daemon-reload`

// createByHand makes a VM with plain commands, as the documented ones do.
const createByHand = `name=$1 flake=$2 dir=/var/lib/microvms/$1
mkdir "$dir"; cd "$dir"
printf %s "$flake" >flake
nix build -o current "$flake#nixosConfigurations.$name.config.microvm.declaredRunner"
chmod -R u+rwX .; chown :kvm -R .; chmod -R a+rX .; chmod g+w .
mkdir -p /nix/var/nix/gcroots/microvm
ln -sfT "$dir/current" "/nix/var/nix/gcroots/microvm/$name"
ln -sfT "$dir/booted" "/nix/var/nix/gcroots/microvm/booted-$name"
systemctl start "microvm@$name.service"`

// A host of microvm.nix's making is taken over without a restart: what it has is
// listed, found unchanged, and then deployed to.
func TestMicrovmNixHostIsTakenOver(t *testing.T) {
	t.Run("root's own store", func(t *testing.T) { takeOver(t, world.host1) })
	t.Run("multi-user daemon", func(t *testing.T) { takeOver(t, world.host2) })
}

func takeOver(t *testing.T, h *lab.Machine) {
	to := "root@" + h.Name
	in := newInfra(t, "", map[string]string{"theirs": vmModule("theirs")})
	in.copyTo(h)
	vm := onHost(t, h, "theirs")
	during(t, h, likeMicrovmNix, "systemctl stop microvm@theirs; "+likeFerry)
	output(t, h, "sh", "-euc", createByHand, "sh", "theirs", in.dir)
	mustBeUp(t, vm)
	invocation, current := vm.invocation(), vm.link("current")

	v := in.ferry("list", to, "--json", "--check").want(0).listed()["theirs"]
	if v.State != hostapi.StateRunning || v.Fresh != hostapi.FreshCurrent || v.Flake != in.dir || v.Generation != 0 || len(v.Problems) > 0 {
		t.Errorf("before: %+v", v)
	}
	in.deploy(result.OutcomeUnchanged, "rebuild", "theirs", to)
	microvmOn(t, h, "/", "-l").want(0, "theirs: current(")
	microvmAgain(t.Context(), t, h, "/", "-Ru", "theirs").want(0, "up to date", "no restart needed")
	if vm.invocation() != invocation || vm.link("current") != current {
		t.Fatal("it was restarted, or its links were moved, though nothing changed")
	}

	in.write("theirs.nix", strings.Replace(vmModule("theirs"), "mem = 256", "mem = 384", 1))
	in.deploy(result.OutcomeInstalled, "install", "theirs", to)
	if vm.invocation() != invocation || vm.link("old") != current || vm.link("booted") != current {
		t.Error("the installation touched what runs")
	}
	in.deploy(result.OutcomeRestarted, "rebuild", "theirs", to)
	if vm.link("booted") != vm.link("current") || vm.link("booted") == current {
		t.Error("the new runner was not booted")
	}
	in.write("theirs.nix", vmModule("theirs", `lab.note = "by the host itself";`))
	in.copyTo(h)
	microvmAgain(t.Context(), t, h, "/", "-Ru", "theirs").want(0, "updated", "restarted")
	if vm.link("booted") != vm.link("current") {
		t.Error("microvm -Ru did not restart it")
	}
	collectGarbage(t, h)
	for _, l := range []string{"current", "old", "booted"} {
		valid(t, h, vm.link(l))
	}
	if got := output(t, h, "cat", vm.dir()+"/flake"); got != in.dir {
		t.Errorf("its flake became %q", got)
	}
}

func mustBeUp(t *testing.T, vm vmOn) {
	t.Helper()
	if vm.property("ActiveState") != "active" || vm.link("booted") != vm.link("current") {
		t.Fatalf("%s is %s", vm.name, vm.property("ActiveState"))
	}
}

// What ferry makes, the plain commands of microvm.nix's documentation go on
// with, and ferry with what they make.
func TestPlainCommandsGoOn(t *testing.T) {
	in := newInfra(t, "", map[string]string{"ours": vmModule("ours")})
	in.ferry("rebuild", "ours", toHost1).want(0, "started")
	vm := onHost(t, world.host1, "ours")
	system := output(t, world.host1, "bash", "-c", "ls -l /var/lib/microvms/ours/{current,booted}/share/microvm/system | sed 's/.*-> //' | sort -u")
	if !strings.HasPrefix(system, "/nix/store/") || strings.Contains(system, "\n") {
		t.Errorf("the documented list shows %q", system)
	}

	in.write("ours.nix", vmModule("ours", `lab.note = "2";`))
	in.copyTo(world.host1)
	first := vm.link("current")
	output(t, world.host1, "sh", "-euc", `cd /var/lib/microvms/ours; nix build -o current "$1#nixosConfigurations.ours.config.microvm.declaredRunner"`, "sh", in.dir)
	if vm.link("current") == first {
		t.Fatal("`nix build -o current` moved nothing")
	}
	v := in.ferry("list", toHost1, "--json").want(0).listed()["ours"]
	if v.Fresh != hostapi.FreshWaits || v.Activation != hostapi.ActivateRestart {
		t.Errorf("after nix build: %+v", v)
	}
	vm.systemctl("restart")
	if vm.link("booted") != vm.link("current") {
		t.Error("the restart did not boot it")
	}
	in.deploy(result.OutcomeUnchanged, "rebuild", "ours", toHost1)
	collectGarbage(t, world.host1)
	valid(t, world.host1, vm.link("current"))
}
