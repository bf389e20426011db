package fetch

import (
	"fmt"
	"net/http"
	"time"
)

// StatusError is an answer with another status than 200.
type StatusError struct {
	Code int
	Body []byte // its beginning, as the server sent it
	Type string // the Content-Type header

	after time.Duration
}

func (e *StatusError) Error() string {
	text := http.StatusText(e.Code)
	if text == "" {
		text = "an unknown status"
	}
	return fmt.Sprintf("the server answers %d (%s)", e.Code, text)
}

// Hint is what to do next.
func (e *StatusError) Hint() string {
	switch e.Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return "credentials are taken from the netrc file (`machine HOST login USER password PASSWORD`)"
	}
	return ""
}

// allowHTTPHint names the option wherever an address is refused for its scheme.
const allowHTTPHint = "use https; --allow-http (in a timer's settings `allowHttp`) is for networks where nobody can change the answer"

// PlainError is a URL that is not fetched because its answers are not protected.
type PlainError struct{ URL string }

func (e *PlainError) Error() string {
	return fmt.Sprintf("%.200q is not encrypted: anybody on the way could change which builds it names", e.URL)
}

// Hint is what to do next.
func (e *PlainError) Hint() string { return allowHTTPHint }

// RedirectError is a redirect that is not followed.
type RedirectError struct {
	From, To string
	Origin   string // of To, where allowing it would help
	Why      string

	hint string // where allowing the origin would not help
}

func (e *RedirectError) Error() string {
	if e.To == "" {
		return e.Why
	}
	return fmt.Sprintf("%s (%s)", e.Why, e.To)
}

// Hint is what to do next.
func (e *RedirectError) Hint() string {
	if e.Origin == "" {
		return e.hint
	}
	return "where that is meant, allow the origin " + e.Origin
}

// TooLargeError is an answer of more bytes than any sensible one has.
type TooLargeError struct{ Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the answer has more than %d bytes", e.Limit)
}
