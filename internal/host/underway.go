package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

// noteLog has what a deployment said on the host, for who attaches to it: its id,
// then a line each.
const noteLog = "deployment.log"

// maxLog bounds it, in bytes.
const maxLog = 256 << 10

// appendLog adds a line. That it can't be kept is no reason to fail.
func (l Layout) appendLog(n microvm.Name, id, line string) {
	path := filepath.Join(l.libDir(n), noteLog)
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if said, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(said), id+"\n") {
		flags, line = os.O_WRONLY|os.O_CREATE|os.O_TRUNC, id+"\n"+line
	} else if len(said) > maxLog {
		return
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return
	}
	_, _ = f.WriteString(strings.ReplaceAll(line, "\r", "") + "\n")
	_ = f.Close()
}

func (l Layout) readLog(n microvm.Name, id string) []string {
	said, err := os.ReadFile(filepath.Join(l.libDir(n), noteLog))
	rest, mine := strings.CutPrefix(string(said), id+"\n")
	if err != nil || !mine {
		return nil
	}
	return strings.Split(strings.TrimRight(rest, "\n"), "\n")
}

// underway lists the deployments that are asked for.
func (l Layout) underway(req hostapi.UnderwayRequest) ([]hostapi.Underway, error) {
	entries, err := os.ReadDir(filepath.Join(l.Lib, "vms"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing ferry's notes: %w", err)
	}
	found := []hostapi.Underway{}
	for _, e := range entries {
		n, err := microvm.ParseName(e.Name())
		if err != nil || (req.Name != "" && n != req.Name) {
			continue
		}
		var left unfinished
		if l.readNote(n, noteDeployment, &left) == nil && (req.ID == "" || left.ID == req.ID) {
			held := l.lockHolder(n)
			found = append(found, hostapi.Underway{
				Name: n, Deployment: left.Deployment, Phase: left.Phase,
				Working: held != nil && held.Deployment == left.ID,
			})
		} else if entry := l.ended(n, req); entry != nil {
			found = append(found, hostapi.Underway{Name: n, Deployment: entry.Deployment, Outcome: entry.Outcome})
		}
	}
	return found, nil
}

// ended is the entry of the deployment that is asked for, if it has ended.
func (l Layout) ended(n microvm.Name, req hostapi.UnderwayRequest) *hostapi.HistoryEntry {
	if req.ID != "" {
		return l.entry(n, req.ID)
	}
	h, err := l.History(n, 1)
	if req.Name == "" || err != nil || len(h.Entries) == 0 {
		return nil
	}
	return &h.Entries[len(h.Entries)-1]
}
