package terminal

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"ferry/internal/remembered"
	"ferry/internal/remote"
	"ferry/internal/ui"
)

// Confirmer asks on stderr whether something may be done, and reads the answer from
// the controlling terminal; without a word it is no, and where nobody would see the
// question or could answer it, too. Each question is asked once in a run, and a yes
// is remembered on this machine.
func Confirmer(stderr io.Writer) func(ctx context.Context, question string) (bool, error) {
	ask := func(context.Context, string) (bool, error) { return false, nil }
	if screen, ok := stderr.(*os.File); ok && term.IsTerminal(int(screen.Fd())) {
		ask = func(ctx context.Context, question string) (bool, error) {
			fmt.Fprintf(screen, "%s [y/N] ", ui.Clean(question))
			answer, err := Ask(ctx, "")
			if errors.Is(err, ErrNone) {
				fmt.Fprintln(screen)
				return false, nil
			}
			return isYes(answer), err
		}
	}
	return onceEach(remembering(remembered.Store{Dir: remembered.TargetsDir()}, ask))
}

// remembering keeps each yes: what a question names is the user's own word from then
// on.
func remembering(s remembered.Store, ask func(context.Context, string) (bool, error)) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, question string) (bool, error) {
		sum := sha256.Sum256([]byte(question))
		id := hex.EncodeToString(sum[:])
		var asked string
		if known, err := s.Recall(id, &asked); err == nil && known && asked == question {
			return true, nil
		}
		yes, err := ask(ctx, question)
		if yes && err == nil {
			_ = s.Keep(id, question) // else it is asked again
		}
		return yes, err
	}
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

// ErrNone: nobody can be asked.
var ErrNone = errors.New("there is no terminal")

// Ask asks on the controlling terminal, whatever stdin is.
func Ask(ctx context.Context, question string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", ErrNone
	}
	fmt.Fprint(tty, question)
	answer := make(chan string, 1)
	go func() { // a read of a terminal can't be cancelled
		defer tty.Close()
		line, _ := bufio.NewReader(tty).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case line := <-answer:
		return line, nil
	case <-ctx.Done():
		fmt.Fprintln(tty)
		return "", remote.Interrupted(ctx, "")
	}
}
