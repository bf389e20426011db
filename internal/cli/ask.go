package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"ferry/internal/ui"
)

// confirmer asks on stderr whether something may be done, and reads the answer from
// the controlling terminal; without a word it is no. Each question is asked once in a
// run. It is nil where nobody would see the question or could answer it.
func (a *app) confirmer() func(ctx context.Context, question string) (bool, error) {
	stderr, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(stderr.Fd())) {
		return nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	_ = tty.Close()
	return onceEach(func(ctx context.Context, question string) (bool, error) {
		fmt.Fprintf(stderr, "%s [y/N] ", ui.Clean(question))
		answer, err := askTerminal(ctx, "")
		return isYes(answer), err
	})
}

// isYes takes nothing but a plain yes for one.
func isYes(answer string) bool {
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// onceEach asks each question once, and repeats the answer after that.
func onceEach(ask func(context.Context, string) (bool, error)) func(context.Context, string) (bool, error) {
	var mu sync.Mutex
	said := map[string]bool{}
	return func(ctx context.Context, question string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if yes, known := said[question]; known {
			return yes, nil
		}
		yes, err := ask(ctx, question)
		if err == nil {
			said[question] = yes
		}
		return yes, err
	}
}
