package cli

import (
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/term"
)

// terminalPassword asks on the controlling terminal, whatever stdin is, once for
// each prompt: a run may connect to the same machine more than once. It is nil
// where there is no terminal, so that the caller can say what to do instead.
func terminalPassword() func(prompt string) (string, error) {
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
		given[prompt] = string(b)
		return string(b), nil
	}
}

func quoted(s string) string { return strconv.Quote(s) }
