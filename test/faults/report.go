//go:build lab

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// row is one line of the table: a fault and what became of it.
type row struct {
	Trial      string   `json:"trial"`
	Way        string   `json:"way"`  // what was deployed
	Step       string   `json:"step"` // that was held, or what else was under way
	Fault      string   `json:"fault"`
	Machine    string   `json:"machine"` // what the VM is: process, container or QEMU
	Host       string   `json:"host"`
	End        string   `json:"end"`      // A: the old state, B: the new one, F: another one, which somebody else has made, ?: none of these
	ExitCode   int      `json:"exitCode"` // of the ferry that was disturbed; -1: it was killed
	Seconds    float64  `json:"seconds"`  // until all was settled
	Total      float64  `json:"total"`    // with the runs that followed, seconds
	Violations []string `json:"violations,omitempty"`
	Lab        string   `json:"lab,omitempty"`    // why it was not tried: the lab has failed
	Output     string   `json:"output,omitempty"` // what ferry said, where there are violations
}

// report prints rows as they come.
type report struct {
	mu         sync.Mutex
	out        io.Writer
	jsonFile   *os.File
	total      int // rows expected
	rows       int
	violations int
	notTried   int
	began      time.Time
}

const tableFormat = "%4s  %-9s %-22s %-26s %-9s %-5s %-4s %4s %7s  %s\n"

func newReport(out io.Writer, total int, jsonPath string) (*report, error) {
	r := &report{out: out, total: total, began: time.Now()}
	if jsonPath != "" {
		f, err := os.Create(jsonPath)
		if err != nil {
			return nil, err
		}
		r.jsonFile = f
	}
	fmt.Fprintf(out, tableFormat, "", "deploying", "step", "fault", "machine", "host", "ends", "exit", "seconds", "violations")
	return r, nil
}

func (r *report) add(l row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows++
	r.violations += len(l.Violations)
	said := "none"
	switch {
	case l.Lab != "":
		said = "not tried"
		r.notTried++
	case len(l.Violations) > 0:
		said = fmt.Sprint(len(l.Violations))
	}
	fmt.Fprintf(r.out, tableFormat, fmt.Sprint(r.rows), l.Way, l.Step, l.Fault, l.Machine, l.Host, l.End,
		fmt.Sprint(l.ExitCode), fmt.Sprintf("%.1f", l.Seconds), said)
	for _, v := range l.Violations {
		fmt.Fprintf(r.out, "        violation: %s\n", v)
	}
	if l.Lab != "" {
		fmt.Fprintf(r.out, "        the lab has failed: %s\n", l.Lab)
	}
	for line := range strings.Lines(l.Output) {
		fmt.Fprintf(r.out, "        | %s\n", strings.TrimRight(line, "\n"))
	}
	if r.jsonFile != nil {
		if b, err := json.Marshal(l); err == nil {
			_, _ = r.jsonFile.Write(append(b, '\n'))
		}
	}
}

// again says that a fault is tried once more.
func (r *report) again(l row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "      %s on %s: the lab has failed, trying again: %s\n", l.Trial, l.Host, l.Lab)
}

// close prints the last lines and returns the exit code. cpu is what the lab's
// machines have used.
func (r *report) close(cpu time.Duration) int {
	if r.jsonFile != nil {
		if err := r.jsonFile.Close(); err != nil {
			fmt.Fprintln(r.out, "writing the rows:", err)
			r.violations++
		}
	}
	r.notTried += r.total - r.rows
	fmt.Fprintf(r.out, "\nafter each fault: %s\n", strings.Join(invariants[:], "; "))
	fmt.Fprintf(r.out, "in %s; processor time of the lab's machines: %s\n", time.Since(r.began).Round(time.Second), cpu.Round(time.Second))
	fmt.Fprintf(r.out, "%d faults, %d violations, %d not tried\n", r.rows, r.violations, r.notTried)
	if r.violations+r.notTried > 0 || r.rows == 0 {
		return 1
	}
	return 0
}

// invariants are what is checked after every fault, in words.
var invariants = [...]string{
	"`current`, `old` and what runs are valid and rooted",
	"the VM runs, wholly in the old state (A) or the new one (B), or with what somebody else has installed meanwhile (F)",
	"ferry ended in time, and its exit code and message say which",
	"no lock, unit, temporary file or pending root is left",
	"the same command again converges",
	"the history has the deployment",
}
