//go:build lab

package e2e

import (
	"strings"
	"testing"

	"ferry/internal/deploy/result"
)

// ledAnywhere plants links where virtiofsd and what supervises it write as root,
// as user microvm can.
const ledAnywhere = `for n in files-virtiofs-ro-store.sock.pid files-virtiofs-ro-store.sock supervisord.log supervisord.pid; do ln -sfn /var/tmp/canary/file $n; done`

// An escaped guest plants links beside virtiofsd's sockets, before the unit starts
// and while it does: root writes through none of them, and the guest comes up with
// its store over virtiofs, under the units' restrictions.
func TestVirtiofsdIsLedNowhere(t *testing.T) {
	forget(t, "files")
	if err := world.ResetFlake(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := &infra{t: t, dir: "/root/infra"}
	e := &escape{vmOn: onHost(t, world.host1, "files"), in: in}
	during(t, world.host1, makeEvil, "rm -rf "+evil+" /var/tmp/canary")
	in.ferry("install", "files").want(0, "installed")
	const own = "/run/microvm-virtiofsd/files"
	e.plant(ledAnywhere)
	e.untouched(func() {
		stop := e.meanwhile(`while :; do ` + ledAnywhere + `; mv -f supervisord.log x; rm -f *.sock.pid x; done 2>/dev/null`)
		e.systemctl("start")
		stop()
	})
	if got := in.op("curl", "-sS", "--retry", "60", "--retry-all-errors", "--retry-delay", "1", "--max-time", "20", "http://files/"); !strings.Contains(got, "Files") {
		t.Errorf("the page is %s", got)
	}
	in.op("timeout", "120", "sh", "-c", "until ssh root@files true; do sleep 1; done") // the page may be first
	if got := in.op("ssh", "root@files", "findmnt -no FSTYPE /nix/.ro-store || grep ro-store /proc/mounts"); !strings.Contains(got, "virtiofs") {
		t.Errorf("the guest's store is %s", got)
	}
	// It does write beside its socket: that is the premise.
	if got := output(t, e.host, "cat", own+"/files-virtiofs-ro-store.sock.pid"); got == "" {
		t.Error("virtiofsd has no file with its process id")
	}
	if got := output(t, e.host, "readlink", e.dir()+"/files-virtiofs-ro-store.sock"); got != own+"/files-virtiofs-ro-store.sock" {
		t.Errorf("the socket's name leads to %s", got)
	}
	if code, out := e.as("mv -f files-virtiofs-ro-store.sock y || rm -f files-virtiofs-ro-store.sock || ln -sfn x files-virtiofs-ro-store.sock"); code == 0 {
		t.Errorf("the socket's name was replaced: %s", out)
	}
	for unit, nothing := range map[string]string{"microvm@files": "PrivateDevices=no", "microvm-virtiofsd@files": "ProtectSystem=no"} {
		got := output(t, e.host, "systemctl", "show", "-p", "NoNewPrivileges,ProtectKernelTunables,ProtectSystem,PrivateDevices", unit)
		if !strings.Contains(got, "NoNewPrivileges=yes") || !strings.Contains(got, "ProtectKernelTunables=yes") || !strings.Contains(got, nothing) {
			t.Errorf("%s: %s", unit, got)
		}
	}
	e.systemctl("stop")
	e.allDown()
	if got := output(t, e.host, "sh", "-c", "find "+e.dir()+" -lname '/run/*'; ls -d "+own+" 2>/dev/null || :"); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

// A share of the VM's own directory works while it is a directory there. One that
// is a link, which user microvm may have made, is not shared, and the journal says
// so.
func TestShareInTheVMsDirectory(t *testing.T) {
	const share = `microvm.shares = [{ tag = "x"; proto = "virtiofs"; source = "/var/lib/microvms/inside/data"; mountPoint = "/x"; }];`
	in := newInfra(t, "", map[string]string{"inside": vmModule("inside", share,
		`microvm.binScripts.microvm-register = "pwd >/run/inside-registered; id -u >>/run/inside-registered";`,
		`microvm.binScripts.microvm-unregister = "pwd >>/run/inside-registered";`)})
	e := &escape{vmOn: onHost(t, world.host2, "inside"), in: in}
	during(t, world.host2, makeEvil, "rm -rf "+evil+" /var/tmp/canary")
	in.ferry("install", "inside", "root@host2").want(0)
	e.plant("ln -s /root data")
	e.untouched(func() {
		if _, err := e.host.Output(t.Context(), "timeout", "60", "systemctl", "start", "microvm@inside"); err == nil {
			t.Error("it started")
		}
		output(t, e.host, "sh", "-c", "systemctl stop microvm@inside microvm-virtiofsd@inside; systemctl reset-failed 'microvm*@inside.service' || :")
	})
	if got := output(t, e.host, "journalctl", "-q", "-o", "cat", "-u", "microvm-virtiofsd@inside"); !strings.Contains(got, "/var/lib/microvms/inside/data: a link leads there") {
		t.Errorf("the journal says %s", got)
	}
	e.plant("rm data && mkdir data")
	in.deploy(result.OutcomeStarted, "rebuild", "inside", "root@host2")
	if code, out := e.as("socat -u OPEN:/dev/null UNIX-CONNECT:inside-virtiofs-x.sock"); code != 0 {
		t.Errorf("the hypervisor's user can't reach the socket: %s", out)
	}
	// Root's scripts don't run where an interpreter would take an escaped guest's
	// modules from.
	vm := onHost(t, world.host2, "inside")
	vm.systemctl("stop")
	if got := output(t, e.host, "cat", "/run/inside-registered"); got != "/\n0\n/" {
		t.Errorf("where and as whom it was registered: %q", got)
	}
	vm.systemctl("start")
	in.ferry("remove", "inside", "--host", "root@host2", "--keep-data").want(0).without("inside-virtiofs-x.sock")
}
