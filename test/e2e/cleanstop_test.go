//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
)

// flushing is a VM whose guest needs a while to write down what it has, and whose
// hypervisor ends at once when systemd tells it to. As with QEMU, the script that
// asks for a shutdown leaves with the end of its input.
func flushing(name string, lines ...string) string { return asked(name, ": >asked", lines...) }

// deaf is a VM whose guest doesn't do what it is asked.
func deaf(name string, lines ...string) string { return asked(name, ":", lines...) }

func asked(name, ask string, lines ...string) string {
	return vmModule(name, append([]string{`microvm.binScripts.microvm-run = ''
    trap 'echo killed >>acts; exit 0' TERM
    rm -f asked
    echo booted >>acts
    until [ -e asked ]; do sleep 0.1 & wait $!; done
    for i in 1 2 3 4 5 6; do sleep 0.5 & wait $!; done
    echo flushed >>acts
  '';`, `microvm.binScripts.microvm-shutdown = ''
    if [ ! -p /dev/stdin ]; then # the unit's own stop command
      echo stop >>acts
    else
      echo "asked by $(id -un) in $PWD" >>acts
    fi
    ` + ask + `
    cat
  '';`}, lines...)...)
}

// acts are what the VM's guest has done since they were asked for last.
func (v vmOn) acts() string {
	v.t.Helper()
	return output(v.t, v.host, "sh", "-c", `cd "$1"; tr '\n' ',' <acts; : >acts`, "sh", v.dir())
}

// whenAsked waits until the guest is asked to shut down.
func (v vmOn) whenAsked() {
	v.t.Helper()
	eventually(v.t, "the guest is asked", 30*time.Second, func() bool {
		return strings.Contains(output(v.t, v.host, "cat", v.dir()+"/acts"), "asked")
	})
}

const held = "/run/systemd/system/microvm@*.service.d/90-ferry-stop.conf"

func (v vmOn) mayStartAgain() {
	v.t.Helper()
	if got := output(v.t, v.host, "sh", "-c", "ls "+held+" 2>/dev/null || :"); got != "" {
		v.t.Errorf("there is still %s", got)
	}
	if got := v.property("Restart"); got != "always" {
		v.t.Errorf("Restart is %q", got)
	}
}

// onMicrovmNixHost is a VM that runs on a host of microvm.nix's making, whose unit
// has the given lines besides.
func onMicrovmNixHost(t *testing.T, name, module, unitLines string) (*infra, vmOn) {
	t.Helper()
	in := newInfra(t, "", map[string]string{name: module})
	during(t, world.host1, likeMicrovmNix, "systemctl stop microvm@"+name+"; "+likeFerry)
	if unitLines != "" {
		dir := "/etc/systemd/system/microvm@" + name + ".service.d"
		during(t, world.host1, fmt.Sprintf("mkdir -p %s; printf '[Service]\\n%s\\n' >%s/test.conf; systemctl daemon-reload", dir, unitLines, dir),
			fmt.Sprintf("rm -r %s; systemctl daemon-reload", dir))
	}
	in.deploy(result.OutcomeStarted, "rebuild", name, toHost1)
	vm := onHost(t, world.host1, name)
	eventually(t, "the guest is there", 10*time.Second, func() bool {
		return strings.Contains(output(t, world.host1, "sh", "-c", "cat /var/lib/microvms/"+name+"/acts 2>/dev/null || :"), "booted")
	})
	vm.acts()
	return in, vm
}

// Where microvm.nix's own unit would end the hypervisor half a second after it has
// asked, the guest shuts down in full: by stop, restart and a deployment's restart.
// microvm-nix/microvm.nix#578
func TestGuestShutsDownOnMicrovmNixHost(t *testing.T) {
	for name, unitLines := range map[string]string{"polite": "", "eager": `RestartSec=100ms`} {
		t.Run(name, func(t *testing.T) {
			in, vm := onMicrovmNixHost(t, name, flushing(name), unitLines)
			asked := "asked by microvm in " + vm.dir() + ","
			in.ferry("doctor", "root@host1").want(0, "unit-stop: a stop by systemd", "→ stop VMs with `ferry stop`", "state-dir: /var/lib/microvms is not root's alone")
			in.ferry("stop", name, host1Flag).want(0, "stopped").without("killed")
			if got := vm.acts(); got != asked+"flushed,stop," {
				t.Errorf("the stop: %s", got)
			}
			if got := vm.property("ActiveState"); got != "inactive" {
				t.Errorf("after the stop the unit is %s", got)
			}
			vm.mayStartAgain()
			in.ferry("start", name, host1Flag).want(0, "started")
			in.ferry("restart", name, host1Flag).want(0, "restarted")
			if got := vm.acts(); got != "booted,"+asked+"flushed,stop,booted," {
				t.Errorf("the restart: %s", got)
			}
			in.write(name+".nix", flushing(name, `lab.note = "2";`))
			in.deploy(result.OutcomeRestarted, "rebuild", name, toHost1, "--restart=always")
			if got := vm.acts(); got != asked+"flushed,stop,booted," {
				t.Errorf("the deployment: %s", got)
			}
			if vm.link("booted") != vm.link("current") {
				t.Error("the new runner was not booted")
			}
			vm.mayStartAgain()
			if got := output(t, world.host1, "sh", "-c", "systemctl list-units --all --plain --no-legend 'ferry-shutdown-*'"); got != "" {
				t.Errorf("there is still %s", got)
			}
		})
	}
}

// A guest that doesn't shut down in the time of its unit is killed, and that is said.
func TestKilledGuestIsSaid(t *testing.T) {
	const says = "the guest did not shut down within 3s and was killed"
	in, vm := onMicrovmNixHost(t, "deaf", deaf("deaf"), "TimeoutStopSec=3s")
	r := in.ferry("restart", "deaf", host1Flag, "--json").want(0, says)
	var life hostapi.Life
	if err := json.Unmarshal([]byte(r.stdout), &life); err != nil || !life.Killed {
		t.Errorf("%v, %+v", err, life)
	}
	if got := vm.acts(); got != "asked by microvm in "+vm.dir()+",killed,stop,booted," {
		t.Errorf("the restart: %s", got)
	}
	in.write("deaf.nix", deaf("deaf", `lab.note = "2";`))
	if res := in.deploy(result.OutcomeRestarted, "rebuild", "deaf", toHost1, "--restart=always"); res.Killed != says {
		t.Errorf("%+v", res)
	}
	in.ferry("history", "deaf", host1Flag).want(0, says)
	in.ferry("stop", "deaf", host1Flag).want(0, "did not shut down in time and was killed")
}

// A helper that is killed while a guest shuts down leaves the unit to systemd,
// which starts it again by its file, and leaves nothing behind for long.
func TestHelperKilledWhileGuestShutsDown(t *testing.T) {
	for name, unitLines := range map[string]string{"lone": "", "forlorn": `RestartSec=100ms`} {
		t.Run(name, func(t *testing.T) {
			in, vm := onMicrovmNixHost(t, name, flushing(name), unitLines)
			stop := in.begin("stop", name, host1Flag)
			vm.whenAsked()
			output(t, world.host1, "sh", "-euc", `kill -KILL "$(lslocks -n -o PID,PATH | sed -n "s|^ *\([0-9]*\) */var/lib/ferry/locks/$1$|\1|p")"`, "sh", name)
			stop.wait().want(1)
			if unitLines == "" {
				eventually(t, "the unit is started again", 30*time.Second, func() bool {
					return strings.HasSuffix(output(t, world.host1, "cat", vm.dir()+"/acts"), "stop\nbooted")
				})
			} else {
				eventually(t, "the guest is down", 30*time.Second, func() bool { return vm.property("ActiveState") == "inactive" })
				in.ferry("start", name, host1Flag).want(0, "started")
			}
			if got := vm.acts(); !strings.Contains(got, "flushed,stop,booted,") || strings.Contains(got, "killed") {
				t.Errorf("it did %s", got)
			}
			vm.mayStartAgain()
			in.ferry("stop", name, host1Flag).want(0, "stopped").without("killed")
		})
	}
}

// A guest in QEMU finishes its shutdown on such a host. One in the middle of its
// boot, which may not hear what it is asked, is stopped in the time of its unit.
func TestRealGuestShutsDownOnMicrovmNixHost(t *testing.T) {
	forget(t, "web")
	if err := world.ResetFlake(t.Context()); err != nil {
		t.Fatal(err)
	}
	during(t, world.host1, likeMicrovmNix, "systemctl stop microvm@web; "+likeFerry)
	in := &infra{t: t, dir: "/root/infra"}
	in.ferry("rebuild", "web").want(0, "started")
	vm := onHost(t, world.host1, "web")
	in.op("ssh", "root@web", `systemd-run --quiet --unit=last-act --property=ExecStop='/bin/sh -c "sleep 3; echo last act done >/dev/ttyS0"' --property=TimeoutStopSec=60 --remain-after-exit true`)
	cursor := output(t, world.host1, "sh", "-c", `journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p'`)
	in.ferry("stop", "web").want(0, "stopped").without("killed")
	said := output(t, world.host1, "journalctl", "-q", "-o", "cat", "-u", "microvm@web", "--after-cursor="+cursor)
	if done, off := strings.Index(said, "last act done"), strings.Index(said, "reboot: "); done < 0 || off < done {
		t.Errorf("the guest did not finish its shutdown:\n%s", said)
	}
	dir := "/etc/systemd/system/microvm@web.service.d"
	during(t, world.host1, fmt.Sprintf("mkdir -p %s; printf '[Service]\\nTimeoutStopSec=20s\\n' >%s/test.conf; systemctl daemon-reload", dir, dir),
		fmt.Sprintf("rm -r %s; systemctl daemon-reload", dir))
	in.ferry("start", "web").want(0, "started")
	r := in.ferry("stop", "web").want(0, "stopped")
	t.Logf("in the middle of its boot: %s", r)
	if got := vm.property("ActiveState"); got != "inactive" {
		t.Errorf("the unit is %s", got)
	}
	vm.mayStartAgain()
}
