package nix

import (
	"io"
	"regexp"
)

// planPattern is the head of a list with which Nix says what it is about to do:
// `these 3 derivations will be built:`, `this path will be fetched (0.03 MiB
// download, 0.11 MiB unpacked):`, `these 2 paths will be fetched (…):`.
var planPattern = regexp.MustCompile(`^th(is|ese) ([0-9]+ )?(derivations?|paths?) will be (built|fetched).*:$`)

var planItemPattern = regexp.MustCompile(`^  /nix/store/\S+$`)

// planless hands lines on without the items of such lists. Nix names each again
// when its turn comes (`building '…'`, `copying path '…'`), and a list has
// thousands of them. The head, with the number, stays.
type planless struct {
	to     io.Writer
	inPlan bool
}

// Write takes one whole line, as Nix.Log does.
func (p *planless) Write(line []byte) (int, error) {
	text := line[:max(0, len(line)-1)]
	if p.inPlan && planItemPattern.Match(text) {
		return len(line), nil
	}
	p.inPlan = planPattern.Match(text)
	return p.to.Write(line)
}
