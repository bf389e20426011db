//go:build lab

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"ferry/internal/lab"
)

const (
	// testLimit is how long one test may take, in patience: many times the longest.
	testLimit = 15 * time.Minute
	// stackWait is how long a test may take to print where it hangs.
	stackWait = 20 * time.Second
)

// worker runs tests in one lab.
type worker struct {
	programs
	root   string
	report *report
	lab    *lab.Lab
}

// work runs tests until there are none left. What it returns is a lab that could
// not be made or mended; the tests left are then another worker's.
func (w *worker) work(ctx context.Context, todo <-chan string) error {
	if err := lab.EndWithProcess(w.root); err != nil {
		return err
	}
	defer func() {
		if err := lab.Down(context.WithoutCancel(ctx), w.root); err != nil {
			fmt.Fprintln(os.Stderr, "run: ending the lab:", err)
		}
	}()
	if err := w.up(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		name, more := <-todo
		if !more {
			return nil
		}
		if err := w.test(ctx, name); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (w *worker) up(ctx context.Context) (err error) {
	w.lab, err = lab.Up(ctx, lab.Options{Root: w.root, Hosts: 2, Log: os.Stderr, Ferry: w.ferry, Memory: true})
	if err != nil {
		return err
	}
	operator, err := w.lab.Machine("operator")
	if err != nil {
		return err
	}
	return operator.Install(ctx, w.ferry, "/usr/local/bin/ferry", 0o755)
}

// test runs one test and reports it. A test that fails in a lab which isn't well
// has shown nothing: it is tried once more in a new lab.
func (w *worker) test(ctx context.Context, name string) error {
	for try := 1; ; try++ {
		began, before := time.Now(), w.lab.CPU()
		res := w.run(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		res.took, res.cpu = time.Since(began), res.cpu+w.lab.CPU()-before
		if res.ok {
			w.report.add(res)
			return nil
		}
		res.lab = w.lab.Check(ctx)
		if res.lab == nil {
			w.report.add(res)
			return w.up(ctx) // what the test left stopped
		}
		if err := w.remake(ctx); err != nil {
			w.report.add(res)
			return err
		}
		if try == 2 {
			w.report.add(res)
			return nil
		}
		w.report.again(res)
	}
}

// remake makes a lab that has failed new.
func (w *worker) remake(ctx context.Context) error {
	if err := lab.Down(ctx, w.root); err != nil {
		return err
	}
	return w.up(ctx)
}

// run runs the test's process until it ends. One that makes no end is asked where
// it hangs, and killed.
func (w *worker) run(ctx context.Context, name string) result {
	res := result{name: name}
	cmd := exec.Command(w.tests, "-test.v", "-test.timeout=0", "-test.run=^"+name+"$")
	cmd.Dir = "test/e2e" // where `go test` runs them
	cmd.Env = append(os.Environ(), "FERRY_LAB_ROOT="+w.root, "FERRY_E2E_BINARY="+w.ferry)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said output
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = stackWait
	if err := cmd.Start(); err != nil {
		res.out = []byte(err.Error())
		return res
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err := await(ctx, cmd, ended)
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it has left running
	res.out, res.ok = said.bytes(), err == nil
	if errors.Is(err, errNoEnd) {
		res.out = fmt.Appendf(res.out, "--- FAIL: %s: %v\n", name, err)
	}
	if s := cmd.ProcessState; s != nil { // with that of the commands that it ran
		res.cpu = s.UserTime() + s.SystemTime()
	}
	return res
}

var errNoEnd = fmt.Errorf("it made no end (%s of patience)", testLimit)

// await returns how the process ended.
func await(ctx context.Context, cmd *exec.Cmd, ended <-chan error) error {
	patience := lab.NewPatience(testLimit)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if patience.Over() {
				end(cmd, ended, syscall.SIGQUIT) // it prints where it hangs
				return errNoEnd
			}
		case <-ctx.Done():
			end(cmd, ended, syscall.SIGTERM)
			return ctx.Err()
		}
	}
}

func end(cmd *exec.Cmd, ended <-chan error, sig syscall.Signal) {
	_ = cmd.Process.Signal(sig)
	select {
	case <-ended:
	case <-time.After(stackWait):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
}

// output is what a test says; what its children left running may still write.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}
