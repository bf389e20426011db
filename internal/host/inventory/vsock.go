package inventory

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
)

// sshPort is where a guest's sshd listens, on vsock as on TCP.
const sshPort = 22

// muxSocket is what cloud-hypervisor's vsock is called in a VM's directory by
// microvm.nix.
const muxSocket = "notify.vsock"

// maxMuxLine bounds the answer of a vsock multiplexer, in bytes.
const maxMuxLine = 64

// Vsock says how a VM that runs is reached without a network.
type Vsock struct {
	CID uint32 // its context id
	Mux string // the socket that stands for it; empty: AF_VSOCK itself
}

// FindVsock reads how the VM that runs can be reached. The error is a *Failure
// that says why it can't.
func (l *Lister) FindVsock(ctx context.Context, n microvm.Name) (*Vsock, error) {
	vm, err := l.Look(ctx, n)
	if err != nil {
		return nil, err
	}
	switch vm.State {
	case hostapi.StateRunning, hostapi.StateUnconfirmed, hostapi.StateUnknown:
	default:
		return nil, hostapi.Refuse(fmt.Sprintf("%s is not running (%s)", n, vm.State), "start it: systemctl start "+n.Unit())
	}
	running := vm.Booted // what runs counts, not what is installed
	if running == "" {
		running = vm.Current
	}
	r := runner.At(l.layout.Root, running)
	word, err := runner.ReadBounded(r.File("share/microvm/vsock-cid"), maxMuxLine)
	if err != nil {
		return nil, hostapi.Refuse(fmt.Sprintf("%s has no vsock", n), "set microvm.vsock.cid in its configuration, deploy it and restart it; or use ssh over its network")
	}
	cid, err := strconv.ParseUint(strings.TrimSpace(string(word)), 10, 32)
	if err != nil || cid < 3 {
		return nil, hostapi.Refuse(fmt.Sprintf("the vsock CID of %s is %.40q", n, strings.TrimSpace(string(word))), "a guest's CID is a number from 3 on")
	}
	v := &Vsock{CID: uint32(cid)}
	if kind, err := runner.ReadBounded(r.File("share/microvm/hypervisor"), maxMuxLine); err == nil && strings.TrimSpace(string(kind)) == "cloud-hypervisor" {
		v.Mux = filepath.Join(vm.Dir, muxSocket)
	}
	return v, nil
}

// Dial connects to sshd in the guest.
func (v Vsock) Dial(ctx context.Context) (io.ReadWriteCloser, error) {
	if v.Mux != "" {
		return dialMux(ctx, v.Mux, sshPort)
	}
	return dialVsock(v.CID, sshPort)
}

// dialMux connects through a hypervisor's unix socket: `CONNECT PORT` is
// answered by `OK …` (cloud-hypervisor's and Firecracker's vsock documentation).
// The socket is in a directory that the VM's user can write, so a link to some
// other socket is not followed.
func dialMux(ctx context.Context, path string, port uint32) (io.ReadWriteCloser, error) {
	f, err := openPath(path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Mode()&fs.ModeSocket == 0 {
		return nil, fmt.Errorf("%s is not a socket", path)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(f.Fd())))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", path, withoutAddress(err))
	}
	r, err := askMux(conn, port)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return muxConn{Conn: conn, r: r}, nil
}

const muxTimeout = 10 * time.Second

func askMux(conn net.Conn, port uint32) (io.Reader, error) {
	_ = conn.SetDeadline(time.Now().Add(muxTimeout))
	defer func() { _ = conn.SetDeadline(time.Time{}) }()
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		return nil, fmt.Errorf("asking for port %d of the guest: %w", port, err)
	}
	r := bufio.NewReaderSize(conn, maxMuxLine)
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the hypervisor refuses port %d: nothing listens there in the guest", port)
	case err != nil:
		return nil, fmt.Errorf("reading the hypervisor's answer: %w", err)
	case !strings.HasPrefix(string(line), "OK"):
		return nil, fmt.Errorf("the hypervisor answers %.60q", strings.TrimSpace(string(line)))
	}
	return r, nil
}

// muxConn reads first what came together with the multiplexer's answer.
type muxConn struct {
	net.Conn
	r io.Reader
}

func (c muxConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c muxConn) CloseWrite() error {
	if u, ok := c.Conn.(*net.UnixConn); ok {
		return u.CloseWrite()
	}
	return nil
}

func withoutAddress(err error) error {
	var oe *net.OpError
	if errors.As(err, &oe) {
		return oe.Err
	}
	return err
}

// Pipe copies between a connection and a pair of streams until the connection's
// other side is done; it closes the connection.
func Pipe(conn io.ReadWriteCloser, in io.Reader, out io.Writer) error {
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, in)
		if c, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
	}()
	_, err := io.Copy(out, conn)
	if err != nil {
		return fmt.Errorf("copying from the guest: %w", err)
	}
	return nil
}
