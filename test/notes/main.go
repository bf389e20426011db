//go:build lab

// Command notes makes what this version of ferry leaves on a host in each phase
// of a deployment, for the tests of later versions, which must take such a host
// over (internal/host/vmstate/testdata/v0/README.md):
//
//	go run -tags lab ./test/notes DIRECTORY
//
// It owns the scenario, and knows of ferry what a host's disk shows.
package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"ferry/internal/lab"
	"ferry/internal/release"
)

const (
	vm      = "web"
	dir     = "/root/notes" // of its flake, on the operator
	restart = "--restart=always"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run -tags lab ./test/notes DIRECTORY")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "notes:", err)
		os.Exit(1)
	}
}

// run works in a lab of its own; FERRY_LAB_ROOT names another.
func run(ctx context.Context, out string) error {
	root := cmp.Or(os.Getenv("FERRY_LAB_ROOT"), "/var/lib/ferry-lab-notes")
	tmp, err := os.MkdirTemp("", "ferry-notes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "ferry") // which can be held before each step
	if err := (release.Build{To: binary, Tags: []string{"faults"}}).Do(ctx); err != nil {
		return err
	}
	l, err := lab.Up(ctx, lab.Options{Root: root, Hosts: 1, Log: os.Stderr, Ferry: binary})
	if err != nil {
		return err
	}
	defer func() { _ = lab.Down(context.WithoutCancel(ctx), root) }()
	m := &maker{Lab: l, ctx: ctx, out: out}
	m.operator, m.host, m.guest = m.machine("operator"), m.machine("host1"), m.machine("guest1")
	m.keep(m.operator.Install(ctx, binary, "/usr/local/bin/ferry", 0o755))
	m.keep(l.WriteFlake(ctx, dir, "", map[string]string{vm: lab.LiveVM(vm, "revision 0")}))
	m.scenario()
	return m.err
}

// scenario is the life of one VM. Each snapshot has the history of what was before.
func (m *maker) scenario() {
	m.ferry("install", vm, "root@host1", "--update-flake", "git+https://git.example.org/infra?ref=main")()
	m.boot(`systemctl restart "microvm@$1"`)
	m.rebuild("")() // switched
	m.rebuild("lab.buildFails = true;")()

	m.hold(m.host, "undo-current")
	end := m.rebuild(`microvm.preStart = "echo out of luck; exit 3";`, restart)
	m.snapshot("undo")
	m.letGo(m.host)
	end()
	m.boot(":")

	m.hold(m.guest, "guest-switch")
	end = m.rebuild("", "--confirm-timeout=20s")
	m.await(m.guest, "grep -q . /run/ferry-held")
	m.copy("activating")
	m.sh(m.operator, `kill -s KILL -- "-$(cat /run/notes)"`)
	end()
	m.letGo(m.guest)

	m.hold(m.host, "build")
	end = m.ferry("install", vm, "root@host1") // asks no guest: the switch stays unsure
	m.snapshot("prepared")
	m.letGo(m.host)
	end()
	m.boot(`systemctl restart "microvm@$1"`)

	m.hold(m.host, "old")
	end = m.rebuild("")
	m.snapshot("commit-live")
	m.letGo(m.host)
	end()

	m.hold(m.host, "old")
	end = m.rebuild("", restart, "--confirm-timeout=3m")
	m.snapshot("commit")
	m.hold(m.host, "check")
	m.snapshot("restart")
	m.letGo(m.host)
	m.await(m.host, `grep -q '"phase":"await"' "/var/lib/ferry/vms/$1/deployment.json"`)
	m.copy("await")
	m.hold(m.host, "history")
	m.boot(":")
	m.snapshot("done")
	m.letGo(m.host)
	end()
}

// maker makes the notes. After the first error it does nothing any more.
type maker struct {
	*lab.Lab
	ctx                   context.Context
	err                   error
	out                   string
	operator, host, guest *lab.Machine
	revision              int
}

func (m *maker) keep(err error) { m.err = cmp.Or(m.err, err) }

func (m *maker) machine(name string) *lab.Machine {
	found, err := m.Machine(name)
	m.keep(err)
	return found
}

// sh runs a script with the VM's name as $1, and returns what it prints.
func (m *maker) sh(on *lab.Machine, script string, args ...string) string {
	if m.err != nil {
		return ""
	}
	out, err := on.Output(m.ctx, slices.Concat([]string{"sh", "-c", script, "sh", vm}, args)...)
	m.keep(err)
	return out
}

func (m *maker) await(on *lab.Machine, condition string) {
	m.sh(on, `exec timeout 300 sh -c "$2" sh "$1"`, "until "+condition+"; do sleep 0.1; done 2>/dev/null")
}

// ferry starts ferry on the operator. What it returns waits for the end; how that
// was is in the history.
func (m *maker) ferry(args ...string) (wait func()) {
	var said bytes.Buffer
	done := make(chan error, 1)
	if m.err != nil {
		return func() {}
	}
	go func() {
		done <- m.operator.Run(m.ctx, lab.Cmd{Dir: dir, Stderr: &said, Args: slices.Concat([]string{
			"timeout", "600", "setsid", "--wait", "sh", "-c", `echo $$ >/run/notes && exec "$@"`, "sh", "ferry"}, args)})
	}()
	return func() { fmt.Fprintf(os.Stderr, "ferry %s: %v\n%s\n", strings.Join(args, " "), <-done, &said) }
}

// rebuild deploys a new revision of the VM that has the given line.
func (m *maker) rebuild(line string, args ...string) (wait func()) {
	if m.revision++; m.err == nil {
		m.keep(m.WriteFile(m.ctx, dir+"/"+vm+".nix", lab.LiveVM(vm, fmt.Sprintf("revision %d", m.revision), line)))
	}
	return m.ferry(slices.Concat([]string{"rebuild", vm, "root@host1", "root@box"}, args)...)
}

// boot has guest1, which plays the VM's inside, boot what the unit has booted.
func (m *maker) boot(before string) {
	system := m.sh(m.host, before+` && readlink "/var/lib/microvms/$1/booted/share/microvm/system"`)
	if m.err == nil {
		m.keep(m.BootGuest(m.ctx, m.guest.Name, system))
	}
}

// hold has ferry stop before a step; what is held already goes on to it.
func (m *maker) hold(on *lab.Machine, step string) {
	m.sh(on, `rm -f /run/ferry-held && echo "$2" >/run/ferry-hold`, step)
}

func (m *maker) letGo(on *lab.Machine) { m.sh(on, `rm -f /run/ferry-hold /run/ferry-held`) }

// snapshot waits until ferry is held on the host, and copies its notes.
func (m *maker) snapshot(name string) {
	m.await(m.host, "grep -q . /run/ferry-held")
	m.copy(name)
}

// facts print what the host shows beside ferry's notes, one NAME=VALUE a line.
const facts = `echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
echo "flake=$(cat "/var/lib/microvms/$1/flake")"
systemctl show -p ActiveState,SubState,Result,InvocationID,NRestarts "microvm@$1"
{ find "/var/lib/microvms/$1" /nix/var/nix/gcroots/microvm /nix/var/nix/gcroots/ferry "/nix/var/nix/profiles/ferry/$1" -type l -printf '%p=%l\n'
  find /var/lib/ferry -type f -printf '%p=%m\n'; } | sort`

// copy keeps ferry's notes, and in host.txt the facts.
func (m *maker) copy(name string) {
	to := filepath.Join(m.out, name)
	for _, part := range []string{"vms/" + vm, "locks"} {
		if m.err == nil {
			m.keep(os.CopyFS(filepath.Join(to, "lib", part), os.DirFS(m.host.Path("/var/lib/ferry/"+part))))
		}
	}
	if text := m.sh(m.host, facts); m.err == nil {
		m.keep(os.WriteFile(filepath.Join(to, "host.txt"), []byte(text+"\n"), 0o644))
	}
}
