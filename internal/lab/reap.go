package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// reaperVar tells a program that it is to wait for another one's end: it names the
// root of the lab to take down then.
const reaperVar = "FERRY_LAB_REAPER"

// ReapIfAsked must come first in a program that calls EndWithProcess, which starts
// the program a second time. There it does not return.
func ReapIfAsked() {
	root := os.Getenv(reaperVar)
	if root == "" {
		return
	}
	// Nobody writes: its end is the end of the process that holds the other side.
	_, _ = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := Down(ctx, root); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// EndWithProcess has the lab in root taken down when this process has ended,
// however it ends: a signal, a panic of a test, `kill -9`. Where Down came before,
// there is nothing left to do.
func EndWithProcess(root string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), reaperVar+"="+root)
	// Signals to this process's group, as by Ctrl-C, must not reach it, and nobody
	// may wait for it to close an output.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting what takes the lab down in the end: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
