package fetch

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, handler http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return parse(t, s.URL)
}

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := CheckURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// quick is a client whose waits don't hold up a test.
func quick() *Client {
	return &Client{AllowHTTP: true, firstWait: time.Millisecond, Timeout: 10 * time.Second}
}

func TestGet(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/x-test")
		fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("Accept"), r.Header.Get("Authorization"))
	})
	a, err := quick().Get(t.Context(), u, "text/x-test")
	if err != nil || string(a.Body) != "GET text/x-test " || a.Type != "text/x-test" || a.URL.String() != u.String() {
		t.Fatalf("%+v, %v", a, err)
	}
}

func TestServerErrorsAreTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name        string
		statuses    []int
		tries, last int32 // last: the status of the error, 0 for none
	}{
		{"a restart of the server", []int{502, 503, 200}, 3, 0},
		{"down for good", []int{500, 500, 500, 500, 500}, 4, 500},
		{"too many requests", []int{429, 200}, 2, 0},
		{"not found", []int{404}, 1, 404},
		{"forbidden", []int{403}, 1, 403},
		{"gone", []int{410}, 1, 410},
	} {
		t.Run(c.name, func(t *testing.T) {
			var n atomic.Int32
			u := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.statuses[n.Add(1)-1]) })
			_, err := quick().Get(t.Context(), u, "*/*")
			var status *StatusError
			if n.Load() != c.tries || (err == nil) != (c.last == 0) {
				t.Fatalf("%d tries, %v", n.Load(), err)
			}
			if err != nil && (!errors.As(err, &status) || status.Code != int(c.last)) {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestNetworkErrorsAreTriedAgain(t *testing.T) {
	var n atomic.Int32
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) < 3 {
			panic(http.ErrAbortHandler) // the connection is cut
		}
		fmt.Fprint(w, "here")
	})
	c := quick()
	told := 0
	c.Retrying = func(error, time.Duration) { told++ }
	if a, err := c.Get(t.Context(), u, "*/*"); err != nil || string(a.Body) != "here" || told != 2 {
		t.Fatalf("%v, told %d times", err, told)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := parse(t, "http://"+l.Addr().String())
	l.Close()
	if _, err := quick().Get(t.Context(), u, "*/*"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("%v", err)
	}
}

// A server that answers nothing, or begins an answer and stalls, costs the
// timeout of each try and no more.
func TestHangingServer(t *testing.T) {
	for name, begin := range map[string]string{"no answer": "", "half an answer": `{"half":`} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			u := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if begin != "" {
					fmt.Fprint(w, begin)
					_ = http.NewResponseController(w).Flush()
				}
				select {
				case <-release:
				case <-r.Context().Done():
				}
			})
			c := quick()
			c.Timeout = 50 * time.Millisecond
			if _, err := c.Get(t.Context(), u, "*/*"); err == nil || !strings.Contains(err.Error(), "no whole answer within 50ms") {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel(errors.New("the user has had enough"))
		<-r.Context().Done()
	})
	if _, err := quick().Get(ctx, u, "*/*"); err == nil || !strings.Contains(err.Error(), "had enough") {
		t.Fatalf("%v", err)
	}
}

// An endless answer is not read to its end, packed or not.
func TestTooLarge(t *testing.T) {
	for name, packed := range map[string]bool{"plain": false, "packed": true} {
		t.Run(name, func(t *testing.T) {
			u := serve(t, func(w http.ResponseWriter, r *http.Request) {
				chunk := []byte(strings.Repeat(" ", 1<<16))
				if packed {
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					for r.Context().Err() == nil {
						if _, err := z.Write(chunk); err != nil {
							return
						}
					}
				}
				for r.Context().Err() == nil {
					if _, err := w.Write(chunk); err != nil {
						return
					}
				}
			})
			c := quick()
			c.MaxBytes = 1000
			var large *TooLargeError
			if _, err := c.Get(t.Context(), u, "*/*"); !errors.As(err, &large) {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	elsewhere := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "elsewhere") })
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/here":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/there":
			fmt.Fprint(w, "there")
		case "/away":
			http.Redirect(w, r, elsewhere.String(), http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/login":
			http.Redirect(w, r, "http://user:secret@"+r.Host+"/there", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		}
	})
	for _, c := range []struct {
		path, body, err string
		allow           []string
	}{
		{"/here", "there", "", nil},
		{"/away", "", "another origin", nil},
		{"/away", "", "another origin", []string{"https://" + elsewhere.Host}},
		{"/away", "elsewhere", "", []string{Origin(elsewhere)}},
		{"/file", "", "what can't be fetched", nil},
		{"/login", "", "what can't be fetched", nil},
		{"/round", "", "more than 5 times", nil},
	} {
		c1 := quick()
		c1.AllowRedirect = c.allow
		a, err := c1.Get(t.Context(), u.JoinPath(c.path), "*/*")
		switch {
		case c.err == "" && (err != nil || string(a.Body) != c.body):
			t.Errorf("%s, allowing %q: %v", c.path, c.allow, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s, allowing %q: %v", c.path, c.allow, err)
		}
	}
}

// What names the builds to run as root comes over https, unless the user allows
// otherwise; on this machine too.
func TestPlainHTTPIsRefused(t *testing.T) {
	var n atomic.Int32
	u := serve(t, func(http.ResponseWriter, *http.Request) { n.Add(1) })
	c := quick()
	c.AllowHTTP = false
	var plain *PlainError
	_, err := c.Get(t.Context(), u, "*/*")
	if !errors.As(err, &plain) || !strings.Contains(plain.Hint(), "--allow-http") || n.Load() != 0 {
		t.Errorf("%v, %d requests", err, n.Load())
	}
	c.AllowHTTP = true
	if _, err := c.Get(t.Context(), u, "*/*"); err != nil || n.Load() != 1 {
		t.Errorf("%v, %d requests", err, n.Load())
	}
}

// A server that was asked over https doesn't lead to where anybody can answer,
// also where that origin is allowed.
func TestRedirectFromHTTPSToHTTPIsRefused(t *testing.T) {
	var n atomic.Int32
	plain := serve(t, func(http.ResponseWriter, *http.Request) { n.Add(1) })
	s := httptest.NewTLSServer(http.RedirectHandler(plain.String(), http.StatusFound))
	defer s.Close()
	c := quick()
	c.AllowHTTP, c.Transport, c.AllowRedirect = false, s.Client().Transport, []string{Origin(plain)}
	var redirect *RedirectError
	_, err := c.Get(t.Context(), parse(t, s.URL), "*/*")
	if !errors.As(err, &redirect) || !strings.Contains(redirect.Hint(), "--allow-http") || n.Load() != 0 {
		t.Errorf("%v, %d requests", err, n.Load())
	}
	c.AllowHTTP = true
	if _, err := c.Get(t.Context(), parse(t, s.URL), "*/*"); err != nil || n.Load() != 1 {
		t.Errorf("%v, %d requests", err, n.Load())
	}
}

func TestUnknownCertificate(t *testing.T) {
	var n atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) }))
	defer s.Close()
	s.Config.ErrorLog = nil
	c := quick()
	tried := 0
	c.Retrying = func(error, time.Duration) { tried++ }
	_, err := c.Get(t.Context(), parse(t, s.URL), "*/*")
	if err == nil || !strings.Contains(err.Error(), "certificate") || tried != 0 || n.Load() != 0 {
		t.Fatalf("%v, %d tries more, %d answers", err, tried, n.Load())
	}
}

// Credentials go to the host that the netrc file names, and to no other.
func TestCredentials(t *testing.T) {
	var got atomic.Value
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		got.Store(user + ":" + password)
		if r.URL.Path == "/away" {
			to := *r.URL
			to.Scheme, to.Path = "http", "/"
			to.Host = strings.Replace(r.Host, "127.0.0.1", "localhost", 1)
			http.Redirect(w, r, to.String(), http.StatusFound)
		}
	})
	n, err := parseNetrc([]byte("# of CI\nmachine 127.0.0.1\n login a password b\nmachine other login c password d\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := quick()
	c.Netrc = n
	if _, err := c.Get(t.Context(), u, "*/*"); err != nil || got.Load() != "a:b" {
		t.Errorf("%v, %v", got.Load(), err)
	}
	c.AllowRedirect = []string{Origin(parse(t, strings.Replace(u.String(), "127.0.0.1", "localhost", 1)))}
	if _, err := c.Get(t.Context(), u.JoinPath("away"), "*/*"); err != nil || got.Load() != ":" {
		t.Errorf("after the redirect: %v, %v", got.Load(), err)
	}
}

func TestParseNetrc(t *testing.T) {
	for _, c := range []struct{ content, host, want, err string }{
		{"", "h", ":", ""},
		{"machine h login u password p", "h", "u:p", ""},
		{"machine H login u password p", "h", "u:p", ""},
		{"machine a login x password y machine h login u\npassword p", "h", "u:p", ""},
		{"machine h login u password p machine h login v password q", "h", "u:p", ""},
		// Nobody gets a password that was not meant for them by name.
		{"default login u password p", "h", ":", ""},
		{"machine other login u password p default login v password q", "h", ":", ""},
		{"machine h login u password p default login v password q", "h", "u:p", ""},
		{"default login v password q machine h login u password p", "h", "u:p", ""},
		{"default login v password", "", "", "lacks its value"},
		{"machine h login u password #p", "h", "u:#p", ""},
		{"machine h login", "", "", "lacks its value"},
		{"machine h login u password s3cret w0rd x", "", "", "is not one of"},
		{"login u password p", "", "", "is not one of"},
		{`machine h login u password "p q"`, "", "", "quoted"},
		{"macdef init\ncd /x\n\n", "", "", "is not one of"},
	} {
		n, err := parseNetrc([]byte(c.content))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "w0rd") {
				t.Errorf("%q: %v", c.content, err)
			}
			continue
		}
		r := httptest.NewRequest(http.MethodGet, "http://"+c.host, nil)
		n.authorise(r)
		if user, password, _ := r.BasicAuth(); err != nil || user+":"+password != c.want {
			t.Errorf("%q: %s:%s, %v", c.content, user, password, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for _, c := range []struct{ url, err string }{
		{"https://hydra.example.org", ""},
		{"http://[::1]:3000/hydra/", ""},
		{"hydra.example.org", "must begin with"},
		{"ftp://hydra.example.org", "must begin with"},
		{"https://user:secret@hydra.example.org", "credentials"},
		{"https://user:secret@hydra example", "spaces"},
		{"https://user:secret@hydra:port", "invalid port"},
		{"https:///job", "names no host"},
		{"https://h/#x", "after `#`"},
		{"https://h/\x1b", "control"},
		{"https://h/" + strings.Repeat("x", 3000), "too long"},
	} {
		_, err := CheckURL(c.url)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %v", c.url, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows the password: %v", c.url, err)
		}
	}
}

func TestParseOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"https://Cache.Example.org/": "https://cache.example.org", "https://h:443": "https://h", "http://h:443": "http://h:443",
		"http://[::1]:80": "http://[::1]", "https://h/path": "", "https://h?x": "", "h": "",
	} {
		got, err := ParseOrigin(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}
