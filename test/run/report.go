//go:build lab

package main

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
)

// result is one test.
type result struct {
	name string
	ok   bool
	lab  error // why the lab isn't well; then the test has shown nothing
	out  []byte
	took time.Duration
	cpu  time.Duration // used by the lab's machines and by the test's commands
}

// skipped: a test that has not run must not look green.
func (r result) skipped() bool { return bytes.Contains(r.out, []byte("--- SKIP")) }

// report prints what became of the tests as they end.
type report struct {
	mu                       sync.Mutex
	wanted                   int
	passed, failed, notTried int
	began                    time.Time
	results                  []result
}

func newReport(wanted int) *report { return &report{wanted: wanted, began: time.Now()} }

func (r *report) add(res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, res)
	word := "PASS"
	switch {
	case res.lab != nil:
		word = "NOT TRIED"
		r.notTried++
	case !res.ok:
		word = "FAIL"
		r.failed++
	case res.skipped():
		word = "FAIL (skipped)"
		r.failed++
	default:
		r.passed++
	}
	fmt.Printf("--- %s: %s (%.1fs, processor %.1fs)\n", word, res.name, res.took.Seconds(), res.cpu.Seconds())
	if word != "PASS" {
		fmt.Printf("%s\n", res.out)
	}
	if res.lab != nil {
		fmt.Printf("the lab has failed: %v\n", res.lab)
	}
}

// again says that a test is tried once more.
func (r *report) again(res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Printf("--- AGAIN: %s: the lab has failed: %v\n", res.name, res.lab)
}

// mostShown is how many of the most expensive tests are named in the end.
const mostShown = 10

// close prints the sums and returns the exit code.
func (r *report) close() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var cpu time.Duration
	for _, res := range r.results {
		cpu += res.cpu
	}
	slices.SortFunc(r.results, func(a, b result) int { return int(b.cpu - a.cpu) })
	fmt.Printf("\nprocessor time: %s; most of it:\n", cpu.Round(time.Second))
	for _, res := range r.results[:min(mostShown, len(r.results))] {
		fmt.Printf("  %6.1fs of %6.1fs  %s\n", res.cpu.Seconds(), res.took.Seconds(), res.name)
	}
	missing := r.wanted - len(r.results)
	fmt.Printf("in %s; %d not tried\n%d passed, %d failed\n", time.Since(r.began).Round(time.Second), r.notTried+missing, r.passed, r.failed)
	if r.failed+r.notTried+missing > 0 || r.passed == 0 {
		return 1
	}
	return 0
}
