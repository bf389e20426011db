//go:build lab

package remote

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/remote/remotetest"
)

// pass stands between a client and a server and can freeze: it then still has
// its connections and takes new ones, but nothing goes through any more.
type pass struct {
	mu     sync.Mutex
	left   int // bytes that the server may still send; -1: any number
	frozen chan struct{}
}

func newPass(t *testing.T, to string, left int) (*pass, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pass{left: left, frozen: make(chan struct{})}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go p.connect(c, to)
		}
	}()
	return p, l.Addr().(*net.TCPAddr).Port
}

func (p *pass) connect(c net.Conn, to string) {
	s, err := net.Dial("tcp", to)
	if err != nil {
		_ = c.Close()
		return
	}
	go p.copy(s, c, false)
	p.copy(c, s, true)
}

func (p *pass) copy(to, from net.Conn, counted bool) {
	buf := make([]byte, 256)
	for {
		n, err := from.Read(buf)
		if counted && p.count(n) {
			p.freeze()
		}
		select {
		case <-p.frozen:
			return // and leave both open
		default:
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			_, _ = to.Close(), from.Close()
			return
		}
	}
}

func (p *pass) count(n int) (over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left < 0 {
		return false
	}
	p.left -= min(n, p.left)
	return p.left == 0
}

func (p *pass) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.frozen:
	default:
		close(p.frozen)
	}
}

// through makes "box" be reached through a pass.
func through(t *testing.T, s *remotetest.Server, left int, lines ...string) *pass {
	t.Helper()
	p, port := newPass(t, fmt.Sprintf("127.0.0.1:%d", s.Port), left)
	own := s.Port
	s.Port = port
	s.Configure(t, append(lines, fmt.Sprintf("HostKeyAlias [127.0.0.1]:%d", own), "ServerAliveInterval 1", "ServerAliveCountMax 2")...)
	return p
}

// A machine that freezes at any point of the login ends the login.
// serokell/deploy-rs#57
func TestFrozenLoginEnds(t *testing.T) {
	for i, left := range []int{1, 30, 600, 1500, 2000, 2500} { // bytes; the greeting is shorter than 60
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			s := remotetest.Start(t)
			// With a long one of the user's, our own limit must do.
			through(t, s, left, fmt.Sprint("ConnectTimeout ", []int{2, 60}[i%2]))
			o := box()
			o.LoginLimit = 4 * time.Second
			began := time.Now()
			c, err := Dial(remotetest.Within(t, 30*time.Second), o)
			if err == nil { // so far that it comes to light later
				err = c.Run(remotetest.Within(t, 30*time.Second), Command{Args: []string{"true"}})
				_ = c.Close()
			}
			var ce *ConnectError
			if !errors.As(err, &ce) || (ce.Kind != Unreachable && ce.Kind != Dropped) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("after %s", took)
			}
			t.Logf("%s: %v", time.Since(began).Round(time.Second/10), err)
		})
	}
}

// A server that takes connections and never says a word.
// serokell/deploy-rs#57
func TestSilentServerEndsTheLogin(t *testing.T) {
	s := remotetest.Start(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	s.Port = silent.Addr().(*net.TCPAddr).Port
	s.Configure(t, "ConnectTimeout 2")
	began := time.Now()
	_, err = Dial(remotetest.Within(t, 60*time.Second), box())
	var ce *ConnectError
	if !errors.As(err, &ce) || ce.Kind != Unreachable || time.Since(began) > 30*time.Second {
		t.Fatalf("%v after %s", err, time.Since(began))
	}
}

// What runs on a connection that freezes ends, says so, and nothing more
// is begun on it.
// serokell/deploy-rs#57
func TestFrozenConnectionEndsWhatRuns(t *testing.T) {
	s := remotetest.Start(t)
	p := through(t, s, -1)
	c := dial(t, box())
	began := make(chan struct{})
	ended := make(chan error, 1)
	ctx := remotetest.Within(t, 60*time.Second)
	go func() {
		ended <- c.Run(ctx, Command{Args: []string{"sh", "-c", "echo begun; sleep 50"}, Stdout: &notice{said: began}})
	}()
	select {
	case <-began:
	case <-ctx.Done():
		t.Fatal("the command did not begin")
	}
	p.freeze()
	err := <-ended
	var ce *ConnectError
	if !errors.As(err, &ce) || ce.Kind != Dropped || !strings.Contains(err.Error(), errCut.Error()) {
		t.Errorf("got %v", err)
	}
	if ctx.Err() != nil {
		t.Error("it did not end by itself")
	}
	if err := c.Run(remotetest.Within(t, 20*time.Second), Command{Args: []string{"true"}}); !errors.As(err, &ce) || ce.Kind != Dropped {
		t.Errorf("afterwards: %v", err)
	}
}

// notice tells of the first output.
type notice struct {
	once sync.Once
	said chan struct{}
}

func (n *notice) Write(p []byte) (int, error) {
	n.once.Do(func() { close(n.said) })
	return len(p), nil
}

// Where the user has set nothing, ours is there: on a connection of our own, and
// for those that are made where the user multiplexes.
// serokell/deploy-rs#57
func TestKeepAliveIsSet(t *testing.T) {
	s := remotetest.Start(t)
	for _, lines := range [][]string{nil, {"ControlMaster auto", "ControlPath " + shortDir(t) + "/%C"}} {
		s.Configure(t, lines...)
		for _, fresh := range []bool{false, true} {
			o := box()
			o.Fresh = fresh
			w := dial(t, o).(*machine).w.(*ssh)
			if got := strings.Join(w.master.options, " "); !strings.Contains(got, "ServerAliveInterval=15 -o ServerAliveCountMax=4") {
				t.Errorf("%q, fresh %v: %s", lines, fresh, got)
			}
		}
	}
}
