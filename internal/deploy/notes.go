package deploy

import (
	"fmt"
	"strings"
)

const maxShownNames = 6

// startNotes name what a VM that runs has read at its start and that may have changed
// since, though its runner is the same. Nobody can see whether it has.
func (p progress) startNotes() []string {
	if !p.facts.VM.Unit.Up() || len(p.plan.Waits) > 0 {
		return nil // its next start is due anyway
	}
	const applies = "--restart=always applies what has changed"
	var notes []string
	if files := p.record.CredentialFiles; len(files) > 0 {
		more := ""
		if len(files) > maxShownNames {
			files, more = files[:maxShownNames], ", …"
		}
		notes = append(notes, fmt.Sprintf("credential files (%s%s) are read at each start: %s", strings.Join(files, ", "), more, applies))
	}
	if p.record.ExtraArgsScript {
		notes = append(notes, "the arguments that extraArgsScript yields are read at each start: "+applies)
	}
	return notes
}
