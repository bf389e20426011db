package cli

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/term"
)

// terminalPassword asks on the controlling terminal, whatever stdin is; nil
// where there is none, so that the caller can say what to do instead.
func terminalPassword() func(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	_ = tty.Close()
	return func(prompt string) (string, error) {
		tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return "", fmt.Errorf("asking for a password: %w", err)
		}
		defer tty.Close()
		fmt.Fprint(tty, prompt)
		b, err := term.ReadPassword(int(tty.Fd()))
		fmt.Fprintln(tty)
		if err != nil {
			return "", fmt.Errorf("asking for a password: %w", err)
		}
		return string(b), nil
	}
}

func quoted(s string) string { return strconv.Quote(s) }
