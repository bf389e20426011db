package systemd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
)

const journalLines = "25"

func journal(ctx context.Context, unit string, since time.Time) []string {
	cmd := exec.CommandContext(ctx, "journalctl", "--no-pager", "--quiet", "-o", "cat",
		"-u", unit, "-n", journalLines, fmt.Sprintf("--since=@%d", since.Unix()-1))
	out, err := cmd.Output()
	if err != nil {
		return []string{fmt.Sprintf("(the journal of %s cannot be read: %v)", unit, err)}
	}
	text := strings.TrimRight(string(out), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// maxJournalEntry bounds one entry as journalctl prints it, in bytes; a longer
// one ends the reading.
const maxJournalEntry = 4 << 20

// Logs hands on the last entries of a VM's units, oldest first, and with follow
// what comes later, until ctx ends. It needs no VM to be there: what a removed
// one said is still in the journal.
func Logs(ctx context.Context, n microvm.Name, last int, follow bool, each func(hostapi.LogLine)) error {
	args := []string{"--no-pager", "--quiet", "-o", "json", "-n", strconv.Itoa(last)}
	for _, unit := range append([]string{n.Unit()}, helpersOf(n)...) {
		args = append(args, "-u", unit)
	}
	if follow {
		args = append(args, "--follow")
	}
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var messages strings.Builder
	cmd.Stderr = &messages
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return hostapi.Refuse(fmt.Sprintf("the journal cannot be read: %v", err), "ferry reads logs with journalctl")
	}
	readErr := readJournal(out, each)
	if readErr != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil
	case readErr != nil:
		return readErr
	case err != nil:
		return fmt.Errorf("journalctl: %w: %s", err, strings.SplitN(messages.String(), "\n", 2)[0])
	}
	return nil
}

func readJournal(r io.Reader, each func(hostapi.LogLine)) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxJournalEntry)
	for sc.Scan() {
		if line, err := parseJournal(sc.Bytes()); err == nil {
			each(line)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	return nil
}

// parseJournal reads an entry of `journalctl -o json`: a message that is no
// UTF-8 is an array of bytes there, and one that is too long is null
// (systemd's "Journal JSON Format").
func parseJournal(entry []byte) (hostapi.LogLine, error) {
	var e struct {
		Time    string          `json:"__REALTIME_TIMESTAMP"` // µs
		Unit    any             `json:"_SYSTEMD_UNIT"`
		About   any             `json:"UNIT"` // what the manager itself says of a unit
		Message json.RawMessage `json:"MESSAGE"`
	}
	if err := json.Unmarshal(entry, &e); err != nil {
		return hostapi.LogLine{}, fmt.Errorf("reading an entry of the journal: %w", err)
	}
	usec, err := strconv.ParseInt(e.Time, 10, 64)
	if err != nil {
		return hostapi.LogLine{}, errors.New("an entry of the journal has no time")
	}
	line := hostapi.LogLine{Time: time.UnixMicro(usec).UTC()}
	if line.Unit, _ = e.About.(string); line.Unit == "" {
		line.Unit, _ = e.Unit.(string)
	}
	var bytes []byte
	var numbers []uint16
	switch {
	case json.Unmarshal(e.Message, &line.Line) == nil:
	case json.Unmarshal(e.Message, &numbers) == nil:
		for _, n := range numbers {
			bytes = append(bytes, byte(n))
		}
		line.Line = strings.ToValidUTF8(string(bytes), "�")
	}
	return line, nil
}
