package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"ferry/internal/remembered"
	"ferry/internal/ui"
)

// confirmer asks on stderr whether something may be done, and reads the answer from
// the controlling terminal; without a word it is no, and where nobody would see the
// question or could answer it, too. Each question is asked once in a run, and a yes
// is remembered on this machine.
func (a *app) confirmer() func(ctx context.Context, question string) (bool, error) {
	ask := func(context.Context, string) (bool, error) { return false, nil }
	if stderr, ok := a.err.(*os.File); ok && term.IsTerminal(int(stderr.Fd())) {
		ask = func(ctx context.Context, question string) (bool, error) {
			fmt.Fprintf(stderr, "%s [y/N] ", ui.Clean(question))
			answer, err := askTerminal(ctx, "")
			if errors.Is(err, errNoTerminal) {
				fmt.Fprintln(stderr)
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
