//go:build lab

// Command faults breaks deployments off: at every step that the code lists, and
// in every way that a machine, a connection or a program can fail. After each
// fault it checks that the VM is wholly in the old or wholly in the new state, and
// that ferry said which. It owns the faults and the invariants (docs/faults.md)
// and knows of ferry what its users and hosts can see.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"ferry/internal/lab"
	"ferry/internal/release"
)

func main() {
	lab.ReapIfAsked()
	os.Exit(run())
}

// labRoot is a lab of the faults' own. FERRY_LAB_ROOT names another;
// FERRY_LAB_KEEP=1 leaves it up for the next run.
func labRoot() string { return cmp.Or(os.Getenv("FERRY_LAB_ROOT"), "/var/lib/ferry-lab-faults") }

// hosts work side by side. host1 has the container guest, host3 the guests in
// QEMU; whoever is idle takes the faults that any host will do for.
const hosts = 3

func run() int {
	only := flag.String("run", "", "only the faults whose line in the table matches this regular expression")
	list := flag.Bool("list", false, "list the faults and end")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fail(err)
	}
	trials := choose(allTrials(), pattern)
	if *list {
		for _, t := range trials {
			fmt.Println(t)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	w, down, err := setUp(ctx)
	if err != nil {
		return fail(err)
	}
	defer down()
	rep, err := newReport(os.Stdout, len(trials), os.Getenv("FERRY_FAULTS_JSON"))
	if err != nil {
		return fail(err)
	}
	fmt.Fprintf(os.Stderr, "faults: the lab is up after %s\n", time.Since(began).Round(time.Second))
	w.tryAll(ctx, trials, rep)
	if err := ctx.Err(); err != nil {
		return fail(fmt.Errorf("broken off: %w", context.Cause(ctx)))
	}
	return rep.close(w.CPU())
}

// world is the lab and what all lanes share.
type world struct {
	*lab.Lab
	operator *lab.Machine
	binary   string // ferry, on this machine, which can be held before each step
	mending  sync.Mutex
}

func setUp(ctx context.Context) (*world, func(), error) {
	dir, err := os.MkdirTemp("", "ferry-faults-")
	if err != nil {
		return nil, nil, err
	}
	w := &world{binary: filepath.Join(dir, "ferry")}
	down := func() {
		_ = os.RemoveAll(dir)
		if os.Getenv("FERRY_LAB_KEEP") == "" {
			if err := lab.Down(context.WithoutCancel(ctx), labRoot()); err != nil {
				fmt.Fprintln(os.Stderr, "faults: ending the lab:", err)
			}
		}
	}
	if os.Getenv("FERRY_LAB_KEEP") == "" {
		if err := lab.EndWithProcess(labRoot()); err != nil {
			return nil, nil, err
		}
	}
	if err := w.up(ctx); err != nil {
		down()
		return nil, nil, err
	}
	return w, down, nil
}

func (w *world) up(ctx context.Context) error {
	err := release.Build{To: w.binary, Tags: []string{"faults"}}.Do(ctx)
	if err != nil {
		return err
	}
	w.Lab, err = lab.Up(ctx, lab.Options{Root: labRoot(), Hosts: hosts, Log: os.Stderr, Ferry: w.binary, Memory: true})
	if err != nil {
		return err
	}
	if w.operator, err = w.Machine("operator"); err != nil {
		return err
	}
	return w.operator.Install(ctx, w.binary, "/usr/local/bin/ferry", 0o755)
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "faults:", err)
	return 1
}
