package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	defaultTimeout  = 20 * time.Second
	defaultMaxBytes = 4 << 20
	maxTries        = 4
	maxRedirects    = 5
	// maxErrorBytes is how much of an answer with an error status is read.
	maxErrorBytes = 64 << 10
	// longestRetryAfter bounds what a server may ask for by Retry-After.
	longestRetryAfter = 10 * time.Second
)

// Client gets documents. The zero value is usable, by several goroutines too.
type Client struct {
	// AllowRedirect are origins besides the one asked that an answer may lead to,
	// as Origin writes them.
	AllowRedirect []string
	// AllowHTTP takes answers over http, too, which anybody on the way can change.
	AllowHTTP bool
	Netrc     *Netrc        // credentials by host; nil: none
	Timeout   time.Duration // of one try, its body included; default 20 s
	MaxBytes  int64         // of an answer, unpacked; default 4 MiB
	// Retrying is told of each try that failed and the wait until the next.
	Retrying func(err error, wait time.Duration)
	// Transport replaces the default one, which honours HTTPS_PROXY and the like.
	Transport http.RoundTripper

	firstWait time.Duration // 500 ms unless a test sets it
}

// Answer is a document.
type Answer struct {
	Body []byte
	URL  *url.URL // where it came from, after redirects, without credentials
	Type string   // the Content-Type header
}

// Get fetches u, which CheckURL has accepted. accept is the Accept header. The
// errors are a *PlainError, a *StatusError, a *RedirectError, a *TooLargeError, or
// what the network says. Server errors and network errors are tried again, four times in
// all.
func (c *Client) Get(ctx context.Context, u *url.URL, accept string) (*Answer, error) {
	if err := c.Permits(u); err != nil {
		return nil, err
	}
	client := c.client(u)
	wait := backoff.NewExponentialBackOff()
	if c.firstWait > 0 {
		wait.InitialInterval = c.firstWait
	}
	options := []backoff.RetryOption{backoff.WithBackOff(wait), backoff.WithMaxTries(maxTries)}
	if c.Retrying != nil {
		options = append(options, backoff.WithNotify(c.Retrying))
	}
	var last error
	answer, err := backoff.Retry(ctx, func() (*Answer, error) {
		a, err := c.try(ctx, client, u, accept)
		last = err
		return a, retry(ctx, err)
	}, options...)
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("getting %s: %w", u.Redacted(), context.Cause(ctx))
	}
	return nil, fmt.Errorf("getting %s: %w", u.Redacted(), last)
}

// Permits refuses a URL whose answers anybody on the way can change, unless that
// was allowed; this machine's own addresses are no exception. The error is a
// *PlainError. A nil client allows nothing.
func (c *Client) Permits(u *url.URL) error {
	if u.Scheme == "https" || c != nil && c.AllowHTTP {
		return nil
	}
	return &PlainError{URL: u.Redacted()}
}

// retry marks the errors that another try can't cure.
func retry(ctx context.Context, err error) error {
	var status *StatusError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, isFinal(err):
		return backoff.Permanent(err)
	case errors.As(err, &status) && status.after > 0:
		return backoff.RetryAfter(int(status.after / time.Second))
	}
	return err
}

func isFinal(err error) bool {
	var redirect *RedirectError
	var large *TooLargeError
	var status *StatusError
	var certificate *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &redirect), errors.As(err, &large):
		return true
	case errors.As(err, &certificate), errors.As(err, &unknown), errors.As(err, &record):
		return true
	case errors.As(err, &status):
		return status.Code < 500 && status.Code != http.StatusTooManyRequests || status.Code == http.StatusNotImplemented
	}
	return false
}

func (c *Client) client(asked *url.URL) *http.Client {
	transport := c.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error { return c.checkRedirect(asked, r, via) },
	}
}

// checkRedirect lets a redirect go on where it stays with the origin that was
// asked, or is allowed.
func (c *Client) checkRedirect(asked *url.URL, r *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	if len(via) > maxRedirects {
		return &RedirectError{From: from.Redacted(), Why: fmt.Sprintf("it redirects more than %d times", maxRedirects)}
	}
	to, err := CheckURL(r.URL.String())
	if err != nil {
		return &RedirectError{From: from.Redacted(), To: r.URL.Redacted(), Why: "it redirects to what can't be fetched: " + err.Error()}
	}
	if c.Permits(to) != nil {
		return &RedirectError{From: from.Redacted(), To: to.Redacted(), Why: "it redirects to http, where anybody on the way can change the answer", hint: allowHTTPHint}
	}
	if !c.allowed(asked, to) {
		return &RedirectError{From: from.Redacted(), To: to.Redacted(), Origin: Origin(to), Why: "it redirects to another origin"}
	}
	// The credentials are those of the host that is asked now.
	r.Header.Del("Authorization")
	c.Netrc.authorise(r)
	return nil
}

func (c *Client) allowed(asked, to *url.URL) bool {
	origin := Origin(to)
	if origin == Origin(asked) {
		return true
	}
	for _, allowed := range c.AllowRedirect {
		if origin == allowed {
			return true
		}
	}
	return false
}

func (c *Client) try(ctx context.Context, client *http.Client, u *url.URL, accept string) (*Answer, error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no whole answer within %s", timeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("User-Agent", "ferry")
	c.Netrc.authorise(r)
	response, err := client.Do(r)
	if err != nil {
		return nil, cause(ctx, err)
	}
	defer response.Body.Close()
	answer := &Answer{URL: response.Request.URL, Type: response.Header.Get("Content-Type")}
	if response.StatusCode != http.StatusOK {
		return nil, statusError(response)
	}
	answer.Body, err = c.read(ctx, response.Body)
	return answer, err
}

// read reads a body to its end, which must come within the limit.
func (c *Client) read(ctx context.Context, body io.Reader) ([]byte, error) {
	limit := c.MaxBytes
	if limit <= 0 {
		limit = defaultMaxBytes
	}
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, cause(ctx, err)
	case int64(len(b)) > limit:
		return nil, &TooLargeError{Limit: limit}
	}
	return b, nil
}

// cause is err without the method and URL that net/http puts around it, or why
// the request's context ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

func statusError(response *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes))
	e := &StatusError{Code: response.StatusCode, Body: body, Type: response.Header.Get("Content-Type")}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.after = min(time.Duration(min(seconds, 3600))*time.Second, longestRetryAfter)
	}
	return e
}
