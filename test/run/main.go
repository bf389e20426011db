//go:build lab

// Command run runs the end-to-end tests in labs of its own, side by side, since
// they mostly wait. It owns which test runs where, and what a lab that has failed
// means for a test; it knows nothing of what the tests show. Each test has a
// process of its own, so that one that hangs or dies takes no other along.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"ferry/internal/lab"
	"ferry/internal/release"
)

// core names the tests of `make test`: they show the main job, undo, hosts and
// updates. Lines that begin with # say of what.
//
//go:embed core
var core string

type options struct {
	labs        int
	only        *regexp.Regexp
	core, other bool
}

func main() {
	lab.ReapIfAsked()
	os.Exit(run())
}

func run() int {
	var o options
	only := flag.String("run", "", "only the tests whose names match this regular expression")
	flag.IntVar(&o.labs, "labs", 2, "how many labs to use")
	flag.BoolVar(&o.core, "core", false, "only the tests that the list `core` names")
	flag.BoolVar(&o.other, "other", false, "only those that it doesn't")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "ferry-run-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	p, err := build(ctx, dir)
	if err != nil {
		return fail(err)
	}
	tests, err := choose(ctx, p, o)
	if err != nil {
		return fail(err)
	}
	r := newReport(len(tests))
	todo := make(chan string, len(tests))
	for _, t := range tests {
		todo <- t
	}
	close(todo)
	var workers errgroup.Group
	for n := range min(o.labs, len(tests)) {
		workers.Go(func() error { return (&worker{programs: p, root: labRoot(n), report: r}).work(ctx, todo) })
	}
	if err := workers.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
	}
	return r.close()
}

// labRoot is where the n-th lab is.
func labRoot(n int) string {
	root := os.Getenv("FERRY_LAB_ROOT")
	if root == "" {
		root = "/var/lib/ferry-lab-e2e"
	}
	return fmt.Sprintf("%s-%d", root, n)
}

// programs are what all workers run.
type programs struct{ ferry, tests string }

func build(ctx context.Context, dir string) (programs, error) {
	p := programs{ferry: filepath.Join(dir, "ferry"), tests: filepath.Join(dir, "e2e")}
	if err := (release.Build{To: p.ferry}).Do(ctx); err != nil {
		return p, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-tags", "lab", "-c", "-o", p.tests, "ferry/test/e2e")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // static, so that they run on any machine
	if out, err := cmd.CombinedOutput(); err != nil {
		return p, fmt.Errorf("building the tests: %w\n%s", err, out)
	}
	return p, nil
}

// choose lists the tests that are wanted. A core list with a name that no test has
// would leave something out in silence.
func choose(ctx context.Context, p programs, o options) ([]string, error) {
	out, err := exec.CommandContext(ctx, p.tests, "-test.list", "^Test").Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests: %w", err)
	}
	all := strings.Fields(string(bytes.TrimSpace(out)))
	named, err := coreTests(all)
	if err != nil {
		return nil, err
	}
	tests := slices.DeleteFunc(all, func(t string) bool {
		return !o.only.MatchString(t) || o.core && !named[t] || o.other && named[t]
	})
	if len(tests) == 0 {
		return nil, fmt.Errorf("no test matches")
	}
	return tests, nil
}

func coreTests(all []string) (map[string]bool, error) {
	named := map[string]bool{}
	for line := range strings.Lines(core) {
		name := strings.TrimSpace(line)
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("the list of core tests names %s, which is not a test", name)
		}
		named[name] = true
	}
	return named, nil
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "run:", err)
	return 1
}
