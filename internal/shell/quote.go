package shell

import (
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// Quote joins words to a command line that a POSIX shell splits into the very
// same words. Words must not contain NUL bytes. Use it to show commands too.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		q := shellescape.Quote(w)
		// zsh expands =word, and FOO=bar as the first word is no command.
		if q == w && (strings.HasPrefix(w, "=") || i == 0 && strings.Contains(w, "=")) {
			q = "'" + w + "'"
		}
		quoted[i] = q
	}
	return strings.Join(quoted, " ")
}
