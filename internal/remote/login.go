package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // the script
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"ferry/internal/microvm"
)

//go:embed login.sh
var loginScript string

const (
	// maxFirst is how much is kept of what a login shell prints, in bytes.
	maxFirst = 200
	// maxSaid bounds what the script says of the login, in bytes.
	maxSaid = 16 << 10
)

// Login is how a machine runs a command for whoever logs in: what the login shell does
// before, and what it leaves in the environment.
type Login struct {
	Began   bool          // the command ran
	After   time.Duration // since it was asked for
	Noise   int           // bytes of output before it
	First   string        // the beginning of those
	Endless bool          // they did not end
	Late    bool          // it did not begin in time
	// Err is why it did not begin, or not end, otherwise.
	Err error

	UID, User string
	Groups    []string
	Path      string
	Nix       string // where the shell finds nix; empty: nowhere
	NixDaemon string // where it finds nix-daemon
	Sudo      string // root, quiet, none, password or forbidden: how it becomes root
}

// LookAtLogin runs a short command as whoever has logged in. It takes no longer than
// the limit, and never fails: what is wrong is in the answer.
func LookAtLogin(ctx context.Context, c Conn, limit time.Duration) Login {
	var nonce [12]byte
	_, _ = rand.Read(nonce[:]) // never fails, as documented
	marker := "ferry-" + hex.EncodeToString(nonce[:])
	own, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &loginOutput{marker: []byte("\n" + marker + " "), began: time.Now(), over: func() { stop(errEndless) }}
	late := time.AfterFunc(limit, func() { stop(errLate) })
	defer late.Stop()
	err := c.Run(own, Command{Args: []string{"sh", "-c", loginScript, "ferry", marker}, Stdout: out, Shown: "id; command -v nix; sudo -n …"})
	l := out.login(marker)
	l.Endless, l.Late = errors.Is(context.Cause(own), errEndless), errors.Is(context.Cause(own), errLate)
	if err != nil && !l.Endless && !l.Late {
		l.Err = err
	}
	return l
}

var (
	errEndless = errors.New("it prints without end")
	errLate    = errors.New("it does not answer in time")
)

// loginOutput tells what a login shell prints from what the script says.
type loginOutput struct {
	mu     sync.Mutex
	marker []byte
	began  time.Time
	after  time.Duration
	before []byte // up to the marker, of which the end may have come only in part
	noise  int
	said   []byte
	ours   bool
	over   func()
}

func (o *loginOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ours {
		return len(p), o.keep(p)
	}
	o.before = append(o.before, p...)
	at := bytes.Index(o.before, o.marker)
	if at < 0 {
		if len(o.before) > maxNoise {
			o.noise = len(o.before)
			o.over()
			return 0, errEndless
		}
		return len(p), nil
	}
	o.ours, o.after, o.noise = true, time.Since(o.began), at
	rest := bytes.Clone(o.before[at+1:])
	o.before = o.before[:at]
	return len(p), o.keep(rest)
}

func (o *loginOutput) keep(p []byte) error {
	if len(o.said)+len(p) > maxSaid {
		o.over()
		return errEndless
	}
	o.said = append(o.said, p...)
	return nil
}

func (o *loginOutput) login(marker string) Login {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := Login{Began: o.ours, After: o.after, Noise: o.noise}
	if !o.ours {
		l.Noise = len(o.before)
	}
	l.First = strings.ToValidUTF8(string(o.before[:min(len(o.before), maxFirst)]), "�")
	said := map[string]string{}
	for line := range strings.Lines(string(o.said)) {
		if answer, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), marker+" "); ok {
			key, value, _ := strings.Cut(answer, "=")
			said[key] = value
		}
	}
	l.UID, l.User, l.Path, l.Nix, l.NixDaemon = said["uid"], said["user"], said["path"], said["nix"], said["daemon"]
	l.Groups = strings.Fields(said["groups"])
	l.Sudo = said["sudo"]
	if l.Sudo == "password" && forbidden(said["why"]) {
		l.Sudo = "forbidden"
	}
	return l
}

// Settings is what the user's ssh_config says of a machine, as far as it matters here.
type Settings struct {
	HostName, Port string
	Through        string // ProxyJump or ProxyCommand
	ControlPath    string // where connections are shared; empty: they are not
	Unchecked      bool   // StrictHostKeyChecking is off: any key is accepted
}

// ReadSettings has ssh read its configuration for a machine, without a connection.
func ReadSettings(ctx context.Context, a microvm.Address) (Settings, error) {
	cfg, err := readConfig(ctx, &ssh{addr: a, words: sshOptions()})
	if err != nil {
		return Settings{}, err
	}
	s := Settings{HostName: cfg["hostname"], Port: cfg["port"], Unchecked: off(cfg["stricthostkeychecking"])}
	for _, key := range []string{"proxyjump", "proxycommand"} {
		if v := cfg[key]; v != "" && v != "none" && s.Through == "" {
			s.Through = v
		}
	}
	if cfg.multiplexes() {
		s.ControlPath = cfg.controlPath()
	}
	return s, nil
}
