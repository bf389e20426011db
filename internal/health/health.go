package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ferry/internal/trouble"
	"ferry/internal/ui"

	"golang.org/x/sync/errgroup"
)

const (
	checkTry      = 5 * time.Second  // for one answer
	checkPause    = time.Second      // between two rounds
	checkReport   = 10 * time.Second // between two words about what still fails
	checksAtOnce  = 16
	checkHeader   = 64 << 10 // bytes of an answer's header; its body is not read
	maxReason     = 300      // characters of why one check failed
	maxFailedShow = 12       // failed checks that a message names
)

// check is one question.
type check struct {
	kind  Kind
	value string
}

func (c check) name() string { return strings.ToUpper(c.kind.Name) + " " + c.kind.show(c.value) }

// Await asks all checks, again and again until all have passed in one round, for
// at most within; each has 5 s. The error is an *Error, or ctx's.
func Await(ctx context.Context, c Checks, within time.Duration, log func(string)) error {
	if c.Empty() {
		return nil
	}
	client := checkClient()
	defer client.CloseIdleConnections()
	checks := c.list()
	end := time.Now().Add(within)
	window, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	var failed []string
	var said time.Time
	for {
		last := failed
		failed = round(window, client, checks)
		switch {
		case len(failed) == 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("checking the VM: %w", context.Cause(ctx))
		case window.Err() != nil || !time.Now().Before(end): // a dial may notice first
			if len(last) > 0 { // this round was cut short
				failed = last
			}
			return &Error{Within: within, Failed: failed}
		}
		if time.Since(said) >= checkReport {
			log("not well yet: " + strings.Join(failed, "; "))
			said = time.Now()
		}
		select {
		case <-window.Done():
		case <-time.After(checkPause):
		}
	}
}

// Error is a VM that did not answer in time.
type Error struct {
	Within time.Duration
	Failed []string // the checks that failed in the last round, and why
}

func (e *Error) Error() string {
	return fmt.Sprintf("health checks failed for %s: %s", Brief(e.Within.Round(time.Second)), strings.Join(e.Failed, "; "))
}

// Section is the section of docs/troubleshooting.md about it.
func (*Error) Section() trouble.Section { return trouble.ChecksFailed }

// Hint is what to do next.
func (e *Error) Hint() string {
	return "the checks are asked from the host; see what serves them in the VM"
}

// Brief is a duration for people: 30m, not 30m0s.
func Brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// round asks each check once and tells those that failed.
func round(ctx context.Context, client *http.Client, checks []check) []string {
	reasons := make([]error, len(checks))
	var all errgroup.Group
	all.SetLimit(checksAtOnce)
	for i, c := range checks {
		all.Go(func() error {
			try, cancel := context.WithTimeout(ctx, checkTry)
			defer cancel()
			reasons[i] = c.kind.ask(try, client, c.value)
			return nil
		})
	}
	_ = all.Wait()
	var failed []string
	more := 0
	for i, reason := range reasons {
		switch {
		case reason == nil:
		case len(failed) == maxFailedShow:
			more++
		default:
			failed = append(failed, bounded(checks[i].name())+": "+bounded(plainReason(reason)))
		}
	}
	if more > 0 {
		failed = append(failed, fmt.Sprintf("and %d more", more))
	}
	return failed
}

func (c Checks) list() []check {
	var checks []check
	for _, k := range kinds {
		for _, value := range *k.of(&c) {
			checks = append(checks, check{k, value})
		}
	}
	return checks
}

func askTCP(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// checkClient asks the endpoint itself: no proxy of the environment, no
// redirects, and no more than a header of its answer.
func checkClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: checkHeader},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func askHTTP(ctx context.Context, client *http.Client, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return errors.New("this is not a valid URL")
	}
	req.Header.Set("User-Agent", "ferry")
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	_ = answer.Body.Close() // which ends the connection, however much is to come
	if answer.StatusCode >= http.StatusBadRequest {
		return errors.New(strings.TrimSpace(fmt.Sprintf("status %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))))
	}
	return nil
}

// shownURL leaves out what may be secret: passwords and queries.
func shownURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not a valid URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// plainReason leaves out what the check's name says already.
func plainReason(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var op *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &op) && op.Err != nil:
		err = op.Err
	}
	return err.Error()
}

// bounded makes a text from elsewhere one short line without control characters.
func bounded(s string) string {
	s = strings.Join(strings.Fields(ui.Clean(s)), " ")
	if r := []rune(s); len(r) > maxReason {
		s = string(r[:maxReason]) + "…"
	}
	return s
}
