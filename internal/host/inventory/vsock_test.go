package inventory

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ferry/internal/host/hosttest"
	"ferry/internal/systemd"
)

// mux is a hypervisor's end of the socket: it answers CONNECT and then echoes,
// in upper case.
func mux(t *testing.T, answer string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), muxSocket)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				line, err := r.ReadString('\n')
				if err != nil || line != "CONNECT 22\n" || answer == "" {
					return
				}
				// The guest's first bytes come in the same packet.
				if _, err := io.WriteString(conn, answer); err != nil {
					return
				}
				rest, _ := io.ReadAll(r)
				_, _ = conn.Write(bytes.ToUpper(rest))
			}()
		}
	}()
	return path
}

func TestVsockMux(t *testing.T) {
	conn, err := Vsock{CID: 3, Mux: mux(t, "OK 1073741824\nSSH-2.0-guest\n")}.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Pipe(conn, strings.NewReader("hello"), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "SSH-2.0-guest\nHELLO" {
		t.Errorf("got %q", out.String())
	}
}

func TestVsockMuxRefuses(t *testing.T) {
	planted := filepath.Join(t.TempDir(), muxSocket)
	if err := os.Symlink(mux(t, "OK 1\n"), planted); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		mux(t, ""):                       "nothing listens",
		mux(t, "NO 1\n"):                 "answers",
		mux(t, strings.Repeat("x", 100)): "reading the hypervisor's answer",
		planted:                          "not a socket",
		"/nonexistent/x":                 "no such file",
		t.TempDir():                      "not a socket",
	} {
		if _, err := (Vsock{Mux: path}).Dial(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %q", path, err, want)
		}
	}
}

// AF_VSOCK itself, over the loopback CID where the kernel has one.
func TestVsock(t *testing.T) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no vsock here: %v", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: unix.VMADDR_PORT_ANY}); err != nil {
		t.Skipf("no vsock here: %v", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Skipf("no vsock here: %v", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialVsock(unix.VMADDR_CID_LOCAL, name.(*unix.SockaddrVM).Port)
	if err != nil {
		t.Skipf("no loopback over vsock here: %v", err)
	}
	go func() {
		peer, _, err := unix.Accept(fd)
		if err != nil {
			return
		}
		f := os.NewFile(uintptr(peer), "peer")
		defer f.Close()
		got, _ := io.ReadAll(f)
		_, _ = f.Write(bytes.ToUpper(got))
	}()
	var out bytes.Buffer
	if err := Pipe(conn, strings.NewReader("over vsock"), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != "OVER VSOCK" {
		t.Errorf("got %q", out.String())
	}
}

func TestFindVsock(t *testing.T) {
	h := hosttest.New(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "")
	units := map[string]systemd.ListedUnit{}
	find := func() (*Vsock, error) {
		return (&Lister{layout: h.Layout, units: &fakeLister{units: units}}).FindVsock(t.Context(), web)
	}
	wants := func(text string) {
		t.Helper()
		if v, err := find(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %+v, %v; wanted %q", v, err, text)
		}
	}
	wants("there is no VM web")
	h.MakeVM("web", map[string]string{"current": string(hosttest.RunnerB), "booted": string(hosttest.RunnerA)})
	wants("not running")
	units["microvm@web.service"] = running()
	wants("has no vsock")
	for _, cid := range []string{"two", "2", "-1", "99999999999"} {
		h.Write(string(hosttest.RunnerA)+"/share/microvm/vsock-cid", cid+"\n")
		wants(fmt.Sprintf("%q", cid))
	}
	h.Write(string(hosttest.RunnerA)+"/share/microvm/vsock-cid", "7\n")
	h.Write(string(hosttest.RunnerB)+"/share/microvm/vsock-cid", "8\n")
	if v, err := find(); err != nil || *v != (Vsock{CID: 7}) {
		t.Errorf("got %+v, %v", v, err)
	}
	h.Write(string(hosttest.RunnerA)+"/share/microvm/hypervisor", "cloud-hypervisor\n")
	if v, err := find(); err != nil || v.Mux != h.Layout.VM(web).Path()+"/notify.vsock" {
		t.Errorf("got %+v, %v", v, err)
	}
}
