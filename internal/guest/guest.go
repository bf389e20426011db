package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"ferry/internal/microvm"
	"ferry/internal/remote"
)

//go:embed look.sh
var lookScript string

//go:embed switch.sh
var switchScript string

//go:embed follow.sh
var followScript string

// Shell runs commands in the guest; a remote.Conn is one.
type Shell interface {
	Run(ctx context.Context, c remote.Command) error
}

// Facts is what a guest says of itself.
type Facts struct {
	HostName string            // /etc/hostname, else the kernel's
	BootID   string            // kernel.random.boot_id: another one after each boot
	Root     bool              // the login, or sudo, is root
	Current  microvm.StorePath // /run/current-system
	Booted   microvm.StorePath // /run/booted-system
	HasStore bool              // the path that was asked for is in its /nix/store
	Systemd  bool              // it has systemd-run
	// Switching is the deployment whose switch is still under way, see Follow;
	// empty where there is none.
	Switching string
}

// Look asks the guest what it is. probe is a path of the host's store that
// nothing inside the guest refers to (a runner): if the guest sees it, it shares
// that store. Empty leaves HasStore false.
func Look(ctx context.Context, sh Shell, probe microvm.StorePath) (Facts, error) {
	said := map[string]string{}
	_, err := run(ctx, sh, call{script: lookScript, name: "look", args: []string{string(probe)}, said: said})
	if err != nil {
		return Facts{}, err
	}
	if said["boot"] == "" {
		return Facts{}, fmt.Errorf("the guest's answer is incomplete: it must have a POSIX shell and /proc")
	}
	f := Facts{
		HostName: said["hostname"], BootID: said["boot"], Root: said["uid"] == "0",
		HasStore: said["store"] == "yes", Systemd: said["systemd"] == "yes",
		Switching: said["switching"],
	}
	// Links that lead elsewhere than into the store leave the fields empty.
	f.Current, _ = microvm.ParseStorePath(said["current"])
	f.Booted, _ = microvm.ParseStorePath(said["booted"])
	return f, nil
}

// Switch says what to switch to.
type Switch struct {
	ID       string // of the deployment; names the unit ferry-switch-ID
	System   microvm.StorePath
	Action   string // switch, test or dry-activate
	HostName string // the guest must call itself so; empty: not checked
	// The registration of the system's closure, as nix-store --load-db reads it,
	// comes from one of these: RegInfo is a file of the store, Registration is
	// sent, Runner names a runner whose kernel command line has `regInfo=FILE`.
	RegInfo      string
	Registration io.Reader
	Runner       microvm.StorePath
}

// RefusedError is the guest's reason not to begin a switch.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the guest refused: " + e.Reason }

// Start begins the switch and returns once it is under way in a unit of its
// own. The error is a *RefusedError where the guest would not.
func Start(ctx context.Context, sh Shell, s Switch) error {
	reg := s.RegInfo
	switch {
	case reg != "":
	case s.Registration != nil:
		reg = "-"
	case s.Runner != "":
		reg = "runner:" + string(s.Runner)
	}
	said := map[string]string{}
	_, err := run(ctx, sh, call{
		script: switchScript, name: "switch", said: said, stdin: s.Registration,
		args: []string{string(s.System), s.Action, s.ID, s.HostName, reg},
	})
	switch {
	case said["refused"] != "":
		return &RefusedError{Reason: said["refused"]}
	case err != nil:
		return err
	case said["started"] != s.ID:
		return fmt.Errorf("the guest did not say that the switch started")
	}
	return nil
}

// Status is how a switch ended.
type Status struct {
	Code int  // exit status of switch-to-configuration; 4 means that units failed
	Died bool // its unit is gone without one
	Lost bool // the guest knows nothing of it: it was booted since
}

// Follow writes the switch's output to log, from byte offset on, until it has
// ended. When the connection is lost, it can be called again with the offset
// that it returned.
func Follow(ctx context.Context, sh Shell, id string, offset int64, log io.Writer) (Status, int64, error) {
	said := map[string]string{}
	n, err := run(ctx, sh, call{
		script: followScript, name: "follow", said: said, log: log,
		args: []string{id, strconv.FormatInt(offset, 10)},
	})
	offset += n
	if err != nil {
		return Status{}, offset, err
	}
	switch said["status"] {
	case "unknown":
		return Status{Lost: true}, offset, nil
	case "died":
		return Status{Died: true}, offset, nil
	}
	code, err := strconv.Atoi(said["status"])
	if err != nil {
		return Status{}, offset, fmt.Errorf("the guest's answer is incomplete: no exit status of the switch")
	}
	return Status{Code: code}, offset, nil
}

// call is one run of a script in the guest.
type call struct {
	script, name string
	args         []string
	stdin        io.Reader
	log          io.Writer         // lines that are no answers
	said         map[string]string // the answers
}

// run runs a script as root. Its answers are lines that begin with a marker
// nobody can guess, so that no output of the switch passes for one. The count
// is of the bytes that were not answers.
func run(ctx context.Context, sh Shell, c call) (int64, error) {
	var nonce [12]byte
	_, _ = rand.Read(nonce[:]) // never fails, as documented
	marker := "ferry-" + hex.EncodeToString(nonce[:])
	out := &answers{marker: []byte(marker + " "), said: c.said, log: c.log}
	err := sh.Run(ctx, remote.Command{
		Args:   append([]string{"sh", "-c", c.script, "ferry", marker}, c.args...),
		AsRoot: true, Stdin: c.stdin, Stdout: out, Shown: "ferry's script `" + c.name + "`",
	})
	out.flush()
	if err != nil {
		return out.other, fmt.Errorf("running ferry's script `%s`: %w", c.name, err)
	}
	return out.other, nil
}

// answers tells a script's answers from other output.
type answers struct {
	marker []byte
	said   map[string]string
	log    io.Writer
	other  int64
	rest   []byte
}

const maxLine = 64 << 10

func (a *answers) Write(p []byte) (int, error) {
	a.rest = append(a.rest, p...)
	for {
		i := bytes.IndexByte(a.rest, '\n')
		if i < 0 {
			if len(a.rest) > maxLine {
				a.line(a.rest)
				a.rest = nil
			}
			return len(p), nil
		}
		a.line(a.rest[:i+1])
		a.rest = a.rest[i+1:]
	}
}

func (a *answers) flush() {
	if len(a.rest) > 0 {
		a.line(a.rest)
		a.rest = nil
	}
}

func (a *answers) line(l []byte) {
	if answer, ok := bytes.CutPrefix(l, a.marker); ok {
		if key, value, ok := strings.Cut(strings.TrimRight(string(answer), "\r\n"), "="); ok {
			a.said[key] = value
		}
		return
	}
	a.other += int64(len(l))
	if a.log != nil && len(bytes.TrimSpace(l)) > 0 {
		_, _ = a.log.Write(l)
	}
}
