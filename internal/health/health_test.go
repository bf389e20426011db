package health

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestHealthy(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer web.Close()
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	checks := Checks{TCP: []string{web.Listener.Addr().String()}, HTTP: []string{web.URL, web.URL + "/moved"}}
	if err := Await(t.Context(), checks, 5*time.Second, quiet); err != nil {
		t.Fatal(err)
	}
	if err := Await(t.Context(), Checks{}, time.Second, quiet); err != nil {
		t.Fatalf("nothing to check: %v", err)
	}
}

// It comes up at the fourth try: one that has passed before is asked again too,
// since all must pass in one round.
func TestHealthComesUp(t *testing.T) {
	var asked, other atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			other.Add(1)
		} else if asked.Add(1) <= 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	var said []string
	err := Await(t.Context(), Checks{HTTP: []string{web.URL, web.URL + "/other"}}, 20*time.Second, func(s string) { said = append(said, s) })
	if err != nil || asked.Load() != 4 || other.Load() != 4 {
		t.Fatalf("%v after %d and %d tries", err, asked.Load(), other.Load())
	}
	if len(said) != 1 || !strings.Contains(said[0], "status 503 Service Unavailable") {
		t.Errorf("said %q", said)
	}
}

// Each of these servers is one that a broken or hostile guest may run: it costs
// bounded time and memory, and the message says what was wrong.
func TestUnhealthy(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		for range 4096 {
			if _, err := io.WriteString(w, big); err != nil {
				return
			}
		}
	}))
	t.Cleanup(broken.Close)
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	const refused = "127.0.0.1:1" // not one that was just let go: another test may have it
	evil := func(talk func(net.Conn)) string { return "http://u:secret@" + talking(t, talk) + "/x?token=secret" }
	for _, c := range []struct {
		name   string
		checks Checks
		want   string
	}{
		{"an error with gigabytes", Checks{HTTP: []string{broken.URL}}, "status 500 Internal Server Error"},
		{"an unknown authority", Checks{HTTP: []string{tls.URL}}, "certificate"},
		{"TLS expected, not spoken", Checks{HTTP: []string{strings.Replace(broken.URL, "http", "https", 1)}}, "HTTPS"},
		{"refused", Checks{TCP: []string{refused}, HTTP: []string{"http://" + refused}}, "TCP " + refused + ": connect: connection refused; HTTP http://" + refused + ": connect"},
		{"a black hole", Checks{TCP: []string{blackHole(t)}}, "no answer in time"},
		{"silent", Checks{HTTP: []string{evil(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })}}, "no answer in time"},
		{"silent in the header", Checks{HTTP: []string{evil(func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nServer: x\r\n")
			_, _ = io.Copy(io.Discard, c)
		})}}, "no answer in time"},
		{"a header without end", Checks{HTTP: []string{evil(func(c net.Conn) { pour(c, "HTTP/1.1 200 OK\r\n", "A: "+big) })}}, "headers exceeded"},
		{"headers without end", Checks{HTTP: []string{evil(func(c net.Conn) { pour(c, "HTTP/1.1 200 OK\r\n", "A: b\r\n") })}}, "headers exceeded"},
		{"preliminary answers without end", Checks{HTTP: []string{evil(func(c net.Conn) { pour(c, "", "HTTP/1.1 102 Processing\r\n\r\n") })}}, ""},
		{"escape sequences", Checks{HTTP: []string{evil(func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 \x1b[2J\x1b]0;x\a"+big[:2000]+"\r\n\r\n") })}}, "malformed HTTP"},
		{"no address", Checks{TCP: []string{"nonsense"}, HTTP: []string{"http://[", "file:///etc/passwd"}}, "HTTP file:///etc/passwd: unsupported protocol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			err := Await(t.Context(), c.checks, 2*time.Second, quiet)
			var f *Error
			if !errors.As(err, &f) || !strings.Contains(f.Error(), c.want) {
				t.Fatalf("got %v", err)
			}
			if took := time.Since(began); took > time.Minute { // a bound, not a speed
				t.Errorf("took %s", took)
			}
			if strings.ContainsAny(f.Error(), "\x1b\a\n") || len(f.Error()) > 2000 || strings.Contains(f.Error(), "secret") {
				t.Errorf("the message: %.3000q", f.Error())
			}
		})
	}
}

// A body that never ends is not read.
func TestHealthReadsNoBody(t *testing.T) {
	var sent atomic.Int64
	address := talking(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		block := make([]byte, 1<<20)
		for range 4096 {
			n, err := c.Write(block)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := Await(t.Context(), Checks{HTTP: []string{"http://" + address}}, 10*time.Second, quiet); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("%d bytes were used", got)
	}
	if got := sent.Load(); got > 64<<20 {
		t.Errorf("%d bytes were taken", got)
	}
}

func TestManyChecksAreNamedBriefly(t *testing.T) {
	checks := Checks{}
	for range 100 {
		checks.TCP = append(checks.TCP, strings.Repeat("nonsense", 100))
	}
	err := Await(t.Context(), checks, 100*time.Millisecond, quiet)
	if err == nil || !strings.Contains(err.Error(), "and 88 more") || len(err.Error()) > 20_000 {
		t.Fatalf("got %.500v", err)
	}
}

// Nobody waits for checks once the operator has gone.
func TestChecksEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	var once sync.Once
	address := talking(t, func(c net.Conn) {
		once.Do(func() { close(asked) })
		_, _ = io.Copy(io.Discard, c)
	})
	go func() { <-asked; cancel() }()
	began := time.Now()
	err := Await(ctx, Checks{HTTP: []string{"http://" + address}}, time.Hour, quiet)
	if !errors.Is(err, context.Canceled) || time.Since(began) > 4*time.Second {
		t.Fatalf("%v after %s", err, time.Since(began))
	}
}

// talking is a server that does with each request what it is told.
func talking(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				if _, err := c.Read(make([]byte, 4096)); err == nil {
					talk(c)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func pour(c net.Conn, first, then string) {
	_, err := io.WriteString(c, first)
	for err == nil {
		_, err = io.WriteString(c, then)
	}
}

// blackHole is a listener whose queue of connections is full: what else comes is
// dropped without a word.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	local := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(syscall.Bind(fd, local), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in4, ok := bound.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("bound to %v", bound)
	}
	address := (&net.TCPAddr{IP: in4.Addr[:], Port: in4.Port}).String()
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the listener takes all connections")
	return ""
}

func TestDurationsForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 30 * time.Minute: "30m",
		10 * time.Second: "10s", 70 * time.Minute: "1h10m", 0: "0s", 110 * time.Second: "1m50s",
	} {
		if got := Brief(d); got != want {
			t.Errorf("%s: %q", d, got)
		}
	}
}

func quiet(string) {}
