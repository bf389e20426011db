//go:build lab

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"ferry/internal/doctor"
	"ferry/internal/lab"
)

// doctor runs `ferry doctor ARGS --json` and returns what it has found.
func (in *infra) doctor(code int, args ...string) []doctor.Finding {
	in.t.Helper()
	began := time.Now()
	// Without a terminal nobody is asked for anything.
	r := in.ferryWith(lab.Cmd{Args: []string{"setsid", "--wait"}}, append([]string{"doctor", "--json"}, args...)...).want(code)
	in.t.Logf("ferry doctor %s: %s", strings.Join(args, " "), time.Since(began).Round(time.Second/10))
	r.harmless()
	return r.findings()
}

func (r *ran) findings() []doctor.Finding {
	r.t.Helper()
	var found []doctor.Finding
	for line := range strings.Lines(r.stdout) {
		var f doctor.Finding
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil || !slices.Contains(doctor.Checks(), doctor.Check{Where: f.Where, What: f.What}) || f.Text == "" {
			r.t.Fatalf("%v in %s", err, line)
		}
		found = append(found, f)
	}
	return found
}

// wantFinding fails the test unless a check has come to that, with this in its text.
func wantFinding(t *testing.T, found []doctor.Finding, where doctor.Where, what string, severity doctor.Severity, text string) {
	t.Helper()
	for _, f := range found {
		if f.Where == where && f.What == what {
			if f.Severity != severity || !strings.Contains(f.Text, text) || f.Cure == "" && severity != doctor.OK && severity != doctor.Unknown {
				t.Errorf("wanted %s %q: %+v", severity, text, f)
			}
			return
		}
	}
	t.Errorf("%s %s was not checked", where, what)
}

// A healthy operator, host and guest: every check is made, none finds a problem, and
// nothing is changed anywhere.
func TestDoctorOfHealthyMachines(t *testing.T) {
	in, vm := newLive(t, "patient")
	before := vm.contract()
	helpers := output(t, world.host1, "sh", "-c", "ls -lR /var/lib/ferry/bin")
	for _, args := range [][]string{{"root@host1", "patient"}, {"host1", "root@box"}, {"deploy@host1", "deploy@box", "--host-sudo", "--target-sudo"}} {
		before := connections(t, world.host1)
		found := in.doctor(0, args...)
		if n := connections(t, world.host1) - before; n != 1 {
			t.Errorf("%v: %d connections to the host", args, n)
		}
		for _, c := range doctor.Checks() {
			if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Where == c.Where && f.What == c.What }) {
				t.Errorf("%v: %s %s was not checked", args, c.Where, c.What)
			}
		}
		for _, f := range found {
			// What the lab's machines have not, and what other tests may leave.
			if f.Severity != doctor.OK && !slices.Contains([]string{"kvm", "space", "store-space", "state-space", "trusted-user", "new-paths", "vms", "roots", "unsettled", "failed-units"}, f.What) {
				t.Errorf("%v: %+v", args, f)
			}
		}
		wantFinding(t, found, doctor.Guest, "store", doctor.OK, "")
		wantFinding(t, found, doctor.Guest, "name", doctor.OK, "patient")
		wantFinding(t, found, doctor.Host, "target", doctor.OK, "reaches the guest")
	}
	in.ferry("doctor").want(0, "no problem found")
	in.ferry("doctor", "host1", "-v").want(0, "ok       host host1: root: the login is root's")
	vm.wantContract(before)
	if after := output(t, world.host1, "sh", "-c", "ls -lR /var/lib/ferry/bin"); after != helpers {
		t.Errorf("helpers before:\n%s\nafter:\n%s", helpers, after)
	}
}

// Whatever is wrong with a host is found and named, each with its cure, at once.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	in, _ := newLive(t, "sick")
	during(t, world.host2, breakHost, mendHost)
	found := in.doctor(1, "root@host2", "root@box")
	for what, want := range map[string]struct {
		severity doctor.Severity
		text     string
	}{
		"store-disk":   {doctor.Problem, "/nix/store is read-only"},
		"state-space":  {doctor.Problem, "/var/lib/ferry has "},
		"owners":       {doctor.Warning, "/var/lib/microvms/stray/current"},
		"unsettled":    {doctor.Warning, "stray (deployment 20260101T000000-abcdef by her@desk"},
		"roots":        {doctor.Note, "/nix/var/nix/gcroots/microvm/gone"},
		"setup":        {doctor.Warning, "missing: ferry-settle.service; not as ferry has them, and left as they are: /etc/systemd/system/microvm@.service (changed since ferry wrote it)"},
		"settle":       {doctor.Warning, "not enabled"},
		"target":       {doctor.Warning, "does not reach the guest at"},
		"failed-units": {doctor.Warning, "ferry-broken.service"},
		"sessions":     {doctor.Problem, "a second command"},
		"sshd":         {doctor.Problem, "MaxSessions is 1"},
		"login-noise":  {doctor.Problem, `"Welcome, my love"`},
		"path":         {doctor.Note, "nix-daemon is not on the PATH"},
	} {
		wantFinding(t, found, doctor.Host, what, want.severity, want.text)
	}
	wantFinding(t, found, doctor.Guest, "store", doctor.Warning, "does not see")
	in.ferry("doctor", "root@host2").want(1, "warning  host root@host2: owners: ", "         → ferry host setup root@host2 takes back", hint+"docs/doctor.md").
		without("ok  ")
	output(t, world.host2, "mv", "/root/.nix-profile/bin", "/root/.nix-profile/off")
	defer output(t, world.host2, "mv", "/root/.nix-profile/off", "/root/.nix-profile/bin")
	wantFinding(t, in.doctor(1, "root@host2"), doctor.Host, "nix", doctor.Problem, "Nix was not found")
}

const breakHost = `nix-store --add /etc/hostname >/dev/null
mkdir -p /var/lib/microvms/stray /nix/var/nix/gcroots/microvm
ln -s /nix/store/00000000000000000000000000000000-a /var/lib/microvms/stray/current
chown -h nobody /var/lib/microvms/stray/current
ln -s /nowhere /nix/var/nix/gcroots/microvm/gone
cp /etc/systemd/system/microvm@.service /root/microvm@.service
echo '# mine' >>/etc/systemd/system/microvm@.service
systemctl disable -q ferry-settle.service
printf '[Service]\nType=oneshot\nExecStart=/bin/false\n' >/run/systemd/system/ferry-broken.service
systemctl daemon-reload
! systemctl start ferry-broken.service
mount -t tmpfs -o size=4M,mode=700 tmpfs /run/ferry-test 2>/dev/null || { mkdir /run/ferry-test; mount -t tmpfs -o size=4M,mode=700 tmpfs /run/ferry-test; }
cp /var/lib/ferry/setup.json /run/ferry-test/
mkdir -p /run/ferry-test/vms/stray
echo '{"id":"20260101T000000-abcdef","by":"her@desk"}' >/run/ferry-test/vms/stray/deployment.json
mount --bind /run/ferry-test /var/lib/ferry
mount --bind /nix /nix && mount -o remount,ro,bind /nix
ip route add blackhole "$(getent ahostsv4 box | { read -r a _; echo "$a"; })"
mkdir -p /etc/ssh/sshd_config.d && echo 'MaxSessions 1' >/etc/ssh/sshd_config.d/one.conf
systemctl reload ssh
[ ! -e /root/.bashrc ] || mv /root/.bashrc /root/.bashrc.kept
echo 'echo "Welcome, my love"' >/root/.bashrc
` + hideNix

const mendHost = showNix + `
rm -f /root/.bashrc; [ ! -e /root/.bashrc.kept ] || mv /root/.bashrc.kept /root/.bashrc
rm -f /etc/ssh/sshd_config.d/one.conf; systemctl reload ssh
ip route del blackhole "$(getent ahostsv4 box | { read -r a _; echo "$a"; })"
umount /nix; umount /var/lib/ferry; umount /run/ferry-test; rmdir /run/ferry-test
rm -f /run/systemd/system/ferry-broken.service; systemctl reset-failed ferry-broken.service
systemctl enable -q ferry-settle.service
mv /root/microvm@.service /etc/systemd/system/microvm@.service; systemctl daemon-reload
rm -rf /var/lib/microvms/stray /nix/var/nix/gcroots/microvm/gone`

// What keeps ferry from getting in, each told from the others, and none for long.
func TestDoctorIsNotKeptOut(t *testing.T) {
	in := newInfra(t, "", map[string]string{"kept": vmModule("kept")})
	bashrc := func(line string) (do, undo string) {
		return "[ ! -e /root/.bashrc ] || mv /root/.bashrc /root/.bashrc.kept; echo '" + line + "' >/root/.bashrc",
			"rm -f /root/.bashrc; [ ! -e /root/.bashrc.kept ] || mv /root/.bashrc.kept /root/.bashrc"
	}
	for _, c := range []struct {
		name, bashrc, host, what, text string
		args                           []string
	}{
		{name: "endless", bashrc: "while :; do echo evil; done", host: "root@host2", what: "login-endless", text: `KiB until it was ended, beginning with "evil"`},
		{name: "sleeping", bashrc: "exec sleep 15", host: "root@host2", what: "login-slow", text: "has not come to a command within 3s", args: []string{"--timeout=3"}},
		{name: "unknown key", host: "root@unknown-host2", what: "host-key", text: "its host key is not known yet"},
		{name: "nobody there", host: "root@10.255.255.254", what: "connection", text: "cannot be reached", args: []string{"--timeout=3"}},
		{name: "no sudo", host: "admin@host2", what: "root", text: "admin is not root"},
		{name: "a password", host: "admin@host2", what: "root", text: "sudo wants a password", args: []string{"--host-sudo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			here := *in
			here.t = t
			if c.bashrc != "" {
				do, undo := bashrc(c.bashrc)
				during(t, world.host2, do, undo)
			}
			found := here.doctor(1, append(c.args, c.host)...)
			wantFinding(t, found, doctor.Host, c.what, doctor.Problem, c.text)
			wantFinding(t, found, doctor.Host, "units", doctor.Unknown, "first see "+c.what)
			if n := doctor.Problems(found); n != 1 {
				t.Errorf("%d problems: %+v", n, found)
			}
		})
	}
}

// Where sshd takes one session on a connection, the doctor says what a deployment
// meets, and the deployment says what to change.
func TestOneSessionOnAConnection(t *testing.T) {
	in := newInfra(t, "", map[string]string{"single": vmModule("single")})
	during(t, world.host2, "mkdir -p /etc/ssh/sshd_config.d; echo 'MaxSessions 1' >/etc/ssh/sshd_config.d/one.conf; systemctl reload ssh",
		"rm -f /etc/ssh/sshd_config.d/one.conf; systemctl reload ssh")
	wantFinding(t, in.doctor(1, "root@host2"), doctor.Host, "sessions", doctor.Problem, "refuses a further session")
	in.ferry("rebuild", "single", "root@host2").want(1, "raise MaxSessions", "more: ferry explain ssh-session-refused")
}

// A host that lies or says nothing: what it sends is bounded and harmless, and never
// passes for a host that is well.
func TestDoctorOfAHostileHost(t *testing.T) {
	in := newInfra(t, "", map[string]string{"quack": vmModule("quack")})
	lies := liar(t, world.host2)
	marked := `m=$(printf '%s' "$SSH_ORIGINAL_COMMAND" | grep -ao 'ferry-[0-9a-f]\{24\}' | head -n 1)
if [ -n "$m" ]; then printf '\n%s\n' "$m uid=0" "$m user=root" "$m sudo=root"; exit; fi
`
	for _, c := range []struct{ name, script string }{
		{"nothing", "exit 0"},
		{"escapes", "printf '" + escapes + "\\n'; exit 1"},
		{"root, and no helper", marked + "printf 'ferry-helper: refused " + escapes + "\\n'"},
		{"answers of other types", marked + answer + event + `'{"event":"result","id":1,"result":{"nix":7}}'`},
		{"answers without end", marked + answer + `yes '{"event":"result","result":{"now":"x"}}'`},
		{"all empty", marked + answer + event + `'{"event":"result","id":1,"result":{}}'`},
		{"escapes in answers", marked + answer + event + `'{"event":"result","id":1,"result":{"unknown":{"nix":"\u001b]0;owned\u0007\u202eevil"},"disks":[{"use":"store","path":"\u001b[2J","readOnly":true}],"setup":{"refused":"\u009b31m"},"state":{"path":"/","mode":"x","protected":true,"strays":["\u001b[2J\nok host: all is well"]}}}'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			lies(c.script)
			here := *in
			here.t = t
			r, peak := here.measured(60*time.Second, "doctor", "--json", "--timeout=5", "liar@host2")
			if r.code != 1 || strings.Contains(r.stderr, "panic") || peak > maxPeak {
				t.Errorf("%d MiB of memory: %s", peak, r.shortly())
			}
			r.harmless()
			if len(r.stdout) > 200_000 || doctor.Problems(r.findings()) == 0 {
				t.Errorf("%d bytes: %.2000s", len(r.stdout), r.stdout)
			}
		})
	}
}
