package terminal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// Password asks on the controlling terminal, whatever stdin is, once for
// each prompt: a run may connect to the same machine more than once. It is nil
// where there is no terminal, so that the caller can say what to do instead.
func Password() func(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	_ = tty.Close()
	var mu sync.Mutex
	given := map[string]string{}
	return func(prompt string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if password, ok := given[prompt]; ok {
			return password, nil
		}
		password, err := askHidden(prompt)
		if err != nil {
			return "", fmt.Errorf("asking for a password: %w", err)
		}
		given[prompt] = password
		return password, nil
	}
}

var errInterrupted = errors.New("interrupted")

// askHidden reads a line from the terminal without showing it. A signal that
// ends the run ends the question too, and the terminal shows again what is typed.
func askHidden(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		_ = tty.Close()
		return "", err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	// What is typed as soon as the question appears must not show either.
	hide := exec.Command("stty", "-echo")
	hide.Stdin = tty
	if err := hide.Run(); err != nil {
		_ = tty.Close()
		return "", fmt.Errorf("hiding what is typed: stty -echo: %w", err)
	}
	fmt.Fprint(tty, prompt)
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		fmt.Fprintln(tty)
		return string(l.text), errors.Join(l.err, term.Restore(fd, before), tty.Close())
	case <-signals: // the reader stays until the process ends, and tty with it
		_ = term.Restore(fd, before)
		fmt.Fprintln(tty)
		return "", errInterrupted
	}
}
