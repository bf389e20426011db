//go:build lab

package e2e

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"ferry/internal/lab"
	"ferry/internal/release"
)

// labRoot is a lab of the tests' own, beside one that a user may have up.
// FERRY_LAB_ROOT names another; FERRY_LAB_KEEP=1 leaves it up for the next run.
// Where FERRY_E2E_BINARY names the ferry to test, that lab is up already and
// belongs to somebody else (test/run).
func labRoot() string { return cmp.Or(os.Getenv("FERRY_LAB_ROOT"), "/var/lib/ferry-lab-e2e") }

var world struct {
	*lab.Lab
	operator, host1, host2, guest1, guest2 *lab.Machine
	binary                                 string // ferry, on this machine
}

func TestMain(m *testing.M) {
	lab.ReapIfAsked()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	if list := flag.Lookup("test.list"); list != nil && list.Value.String() != "" {
		return m.Run() // which needs no lab
	}
	dir, err := os.MkdirTemp("", "ferry-e2e-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = enter(ctx, dir)
	stop() // from here on a signal ends this process at once, and the reaper the lab
	if err != nil {
		return fail(err)
	}
	if !lent() && !kept() {
		defer func() { _ = lab.Down(context.Background(), labRoot()) }()
	}
	return m.Run()
}

func lent() bool { return os.Getenv("FERRY_E2E_BINARY") != "" }
func kept() bool { return os.Getenv("FERRY_LAB_KEEP") != "" }

// enter makes the lab, or opens the one that is there.
func enter(ctx context.Context, dir string) (err error) {
	if lent() {
		world.binary = os.Getenv("FERRY_E2E_BINARY")
		if world.Lab, err = lab.Open(labRoot()); err != nil {
			return err
		}
		return machines()
	}
	world.binary = filepath.Join(dir, "ferry")
	if err := (release.Build{To: world.binary}).Do(ctx); err != nil {
		return err
	}
	if !kept() {
		if err := lab.EndWithProcess(labRoot()); err != nil {
			return err
		}
	}
	world.Lab, err = lab.Up(ctx, lab.Options{Root: labRoot(), Hosts: 2, Log: os.Stderr, Ferry: world.binary, Memory: true})
	if err != nil {
		return err
	}
	if err := machines(); err != nil {
		return err
	}
	return world.operator.Install(ctx, world.binary, "/usr/local/bin/ferry", 0o755)
}

func machines() (err error) {
	for name, m := range map[string]**lab.Machine{
		"operator": &world.operator, "host1": &world.host1, "host2": &world.host2,
		"guest1": &world.guest1, "guest2": &world.guest2,
	} {
		if *m, err = world.Machine(name); err != nil {
			return err
		}
	}
	return nil
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}
