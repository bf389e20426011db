package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// run runs a command on this machine itself and returns its standard output.
// A command still running when ctx ends gets SIGTERM, 10 s later SIGKILL.
func run(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	err := runTo(ctx, &out, args...)
	return out.String(), err
}

func runTo(ctx context.Context, stdout io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	end := &tail{limit: 4096}
	cmd.Stdout, cmd.Stderr = stdout, end
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, end)
	}
	return nil
}

// tail keeps the last limit bytes written to it.
type tail struct {
	limit int
	buf   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = t.buf[over:]
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.buf)) }
