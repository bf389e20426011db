package vmstate

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLog bounds a deployment's log, in bytes.
const maxLog = 256 << 10

// Log is what a deployment said on the host, for who attaches to it: in a file of
// its id, then a line each.
type Log struct {
	vm VM
	id string
}

func (l Log) path() string { return filepath.Join(l.vm.lib(), noteLog) }

// Append adds a line; the first one drops an earlier deployment's. That it can't
// be kept is no reason to fail.
func (l Log) Append(line string) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if said, err := os.ReadFile(l.path()); err != nil || !strings.HasPrefix(string(said), l.id+"\n") {
		flags, line = os.O_WRONLY|os.O_CREATE|os.O_TRUNC, l.id+"\n"+line
	} else if len(said) > maxLog {
		return
	}
	f, err := os.OpenFile(l.path(), flags, 0o600)
	if err != nil {
		return
	}
	_, _ = f.WriteString(strings.ReplaceAll(line, "\r", "") + "\n")
	_ = f.Close()
}

// Lines are what the deployment has said.
func (l Log) Lines() []string {
	said, err := os.ReadFile(l.path())
	rest, mine := strings.CutPrefix(string(said), l.id+"\n")
	if err != nil || !mine {
		return nil
	}
	return strings.Split(strings.TrimRight(rest, "\n"), "\n")
}
