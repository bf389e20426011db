package hostclient

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"ferry/internal/helperbin"
	"ferry/internal/remote"
	"ferry/internal/shell"
)

const (
	// uploadStall is after how long an upload is given up that takes nothing and
	// does not end: the host writes it to its disk meanwhile.
	uploadStall = 5 * time.Minute
	// lingerLimit is how long a script that has failed may take to end.
	lingerLimit = 5 * time.Second
)

// helperBase is where hosts keep ferry's helper: BASE/bin/SHA256/ferry.
const helperBase = "/var/lib/ferry"

//go:embed helper.sh
var helperScript string

// platforms maps `uname -s` and `uname -m` to Go's names.
var platforms = map[string]string{
	"Linux x86_64":  "linux/amd64",
	"Linux aarch64": "linux/arm64",
	"Linux armv7l":  "linux/arm",
	"Linux i686":    "linux/386",
	"Linux riscv64": "linux/riscv64",
	"Linux ppc64le": "linux/ppc64le",
	"Linux s390x":   "linux/s390x",
}

// start starts a program as root on the machine, with the given arguments: the
// helper, or what o chooses. Where the machine lacks exactly this build it is
// uploaded before, or, with NoTrace, sent for this one process only. On the local
// machine ferry itself is started, which has the helper's commands, too. The
// process's Stdout begins with the helper's own output.
func start(ctx context.Context, c remote.Conn, o Options, args ...string) (p *remote.Process, uploaded bool, err error) {
	if c.Address().Local {
		p, err = startLocal(ctx, c, args)
		return p, false, err
	}
	st := starter{c: c, find: o.Program, base: helperBase}
	if st.find == nil {
		st.find = helperbin.For
	}
	if o.NoTrace {
		p, err = st.startOnce(ctx, args)
		return p, false, err
	}
	return st.start(ctx, args)
}

func startLocal(ctx context.Context, c remote.Conn, args []string) (*remote.Process, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding ferry's own file: %w", err)
	}
	if err := c.Root(ctx); err != nil {
		return nil, err
	}
	return c.Start(ctx, remote.Command{Args: append([]string{own}, args...), AsRoot: true})
}

// starter starts a helper; tests have a base and a binary of their own.
type starter struct {
	c    remote.Conn
	find helperbin.Find
	base string
	// limit is for the script's answer; 0: the Conn's own.
	limit time.Duration
}

// knowing is a Conn that remembers its platform and has a limit of its own.
type knowing interface {
	Platform() string
	NotePlatform(platform string)
	AnswerLimit() time.Duration
}

// start needs one session where the helper is there, and three where not.
func (s starter) start(ctx context.Context, args []string) (*remote.Process, bool, error) {
	h := s.firstGuess()
	uploaded := false
	// Another build's upload may remove ours between the steps, so not for ever.
	for range 4 {
		p, missing, err := s.try(ctx, h, args)
		if err != nil || missing == nil {
			return p, uploaded, err
		}
		right, err := s.find(missing.platform)
		if err != nil {
			return nil, uploaded, fmt.Errorf("%s: %w", s.c.Address(), err)
		}
		if right.SHA256 != h.SHA256 {
			h = right
			s.remember(missing.platform)
			continue
		}
		if err := s.upload(ctx, h, missing.gzip); err != nil {
			return nil, uploaded, err
		}
		uploaded = true
	}
	return nil, uploaded, fmt.Errorf("%s: the helper vanishes after each upload", s.c.Address())
}

// firstGuess is the helper for the platform that the machine is known or
// supposed to have. Where there is none, the script says which one is needed.
func (s starter) firstGuess() helperbin.Program {
	platform := "linux/" + runtime.GOARCH
	if m, ok := s.c.(knowing); ok {
		platform = cmp.Or(m.Platform(), platform)
	}
	h, err := s.find(platform)
	if err != nil {
		return helperbin.Program{SHA256: "unknown"}
	}
	return h
}

func (s starter) remember(platform string) {
	if m, ok := s.c.(knowing); ok {
		m.NotePlatform(platform)
	}
}

// missingHelper is what the script tells about a machine without the helper.
type missingHelper struct {
	gzip     bool
	platform string
}

// try starts the helper or finds it missing.
func (s starter) try(ctx context.Context, h helperbin.Program, args []string) (*remote.Process, *missingHelper, error) {
	own, stop := context.WithCancelCause(ctx) // lives as long as the helper
	p, err := s.c.Start(own, s.command("run", h, args...))
	if err != nil {
		stop(err)
		return nil, nil, err
	}
	answer, err := s.started(own, p, stop)
	switch {
	case err != nil:
		return nil, nil, err
	case answer == "ok":
		return p, nil, nil
	}
	if words := strings.Fields(answer); len(words) == 4 && words[0] == "missing" {
		uname := words[2] + " " + words[3]
		platform, known := platforms[uname]
		if !known {
			return nil, nil, fmt.Errorf("%s: ferry does not run on %s", s.c.Address(), uname)
		}
		return nil, &missingHelper{gzip: words[1] == "gzip", platform: platform}, nil
	}
	return nil, nil, s.refusal(answer)
}

// started reads the script's answer. Unless that is `ok`, the process has ended,
// and was stopped where it would not by itself. own is the process's context.
func (s starter) started(own context.Context, p *remote.Process, stop context.CancelCauseFunc) (string, error) {
	late := time.AfterFunc(s.answerLimit(), func() { stop(remote.SlowShell(s.c.Address(), s.answerLimit())) })
	out := bufio.NewReader(p.Stdout)
	answer, err := readAnswer(out)
	if late.Stop() && err == nil && answer == "ok" {
		p.Stdout = out
		return answer, nil
	}
	_ = p.Stdin.Close()
	if errors.Is(err, errMuchOutput) { // which may go on for ever
		stop(remote.NoisyShell(s.c.Address()))
	}
	lingers := time.AfterFunc(lingerLimit, func() { stop(errors.New("it does not end")) })
	ended := p.Wait()
	lingers.Stop()
	var shell *remote.ShellError
	if errors.As(context.Cause(own), &shell) {
		return "", shell
	}
	if err != nil { // the script never spoke: what ended it says more
		return "", fmt.Errorf("starting the helper: %w", cmp.Or(ended, err))
	}
	return answer, nil
}

func (s starter) answerLimit() time.Duration {
	if m, ok := s.c.(knowing); ok && s.limit == 0 {
		return m.AnswerLimit()
	}
	return cmp.Or(s.limit, remote.AnswerLimit)
}

func (s starter) refusal(answer string) error {
	if answer == "notroot" {
		return &remote.SudoError{Host: s.c.Address().String(), Why: "the login is not root's",
			Next: "log in as root, or let ferry use sudo (--host-sudo)"}
	}
	return fmt.Errorf("%s: the helper is not used: %s", s.c.Address(), strings.TrimPrefix(answer, "refused "))
}

func (s starter) command(what string, h helperbin.Program, args ...string) remote.Command {
	words := []string{"sh", "-c", helperScript, "ferry-helper", what, s.base, h.SHA256}
	return remote.Command{Args: append(words, args...), AsRoot: true,
		Shown: "ferry-helper " + what + " " + shell.Quote(args...)}
}

func (s starter) upload(ctx context.Context, h helperbin.Program, compressed bool) error {
	how, open := "plain", h.Open
	if compressed {
		how, open = "gzip", h.Gzip
	}
	in, err := open()
	if err != nil {
		return fmt.Errorf("uploading the helper: %w", err)
	}
	defer func() { _ = in.Close() }()
	own, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stall := remote.NewPatience(uploadStall, func() { stop(fmt.Errorf("nothing of it was taken for %s", uploadStall)) })
	defer stall.Stop()
	var out bytes.Buffer
	c := s.command("install", h, how)
	c.Stdin = stall.Reader(in)
	c.Stdout = remote.ShellOutput(&out, func() { stop(remote.NoisyShell(s.c.Address())) })
	err = s.c.Run(own, c)
	answer, silent := readAnswer(bufio.NewReader(strings.NewReader(out.String() + "\n")))
	switch {
	case silent == nil && answer != "ok":
		return s.refusal(answer)
	case err != nil:
		return fmt.Errorf("uploading the helper: %w", err)
	case silent != nil:
		return fmt.Errorf("uploading the helper to %s: %w", s.c.Address(), silent)
	}
	return nil
}

var errMuchOutput = errors.New("no answer from the script in much output")

// readAnswer skips what a login shell may say first, up to 64 KiB of it.
func readAnswer(out *bufio.Reader) (string, error) {
	begins := true // what is read next begins a line
	for left := 64 << 10; left > 0; {
		part, err := out.ReadSlice('\n')
		if answer, ok := strings.CutPrefix(string(part), "ferry-helper: "); ok && begins && err == nil {
			return strings.TrimSpace(answer), nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", errors.New("no answer from the script")
		}
		begins = err == nil
		left -= len(part)
	}
	return "", errMuchOutput
}
