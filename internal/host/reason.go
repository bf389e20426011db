package host

import (
	"strings"
	"syscall"
)

// maxHead bounds what a reason shows of what failed, in characters: a command
// line may be long, and what it said comes after it.
const maxHead = 200

// Reason is why a deployment failed, in one line; empty where it did not.
func (e HistoryEntry) Reason() string { return reason(e.Error) }

// reason makes one line of an error: what failed, which is the first line, and
// why. An error of a program has its command line in front and what it said, Nix's
// `error:` for one, in the lines after.
func reason(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	head, why := lines[0], ""
	full := syscall.ENOSPC.Error() // behind whatever else is said
	for _, line := range lines[1:] {
		line = strings.TrimSpace(line)
		said := strings.TrimSpace(strings.TrimPrefix(line, "error:"))
		switch {
		case said == "":
		case strings.Contains(strings.ToLower(why), full):
		case strings.Contains(strings.ToLower(said), full), said != line, !strings.HasPrefix(why, "error:"):
			why = line
		}
	}
	why = strings.TrimSpace(strings.TrimPrefix(why, "error:"))
	if r := []rune(head); why != "" && len(r) > maxHead {
		head = string(r[:maxHead]) + "…"
	}
	if why == "" || strings.Contains(head, why) {
		return head
	}
	return strings.TrimSuffix(head, ":") + ": " + why
}
