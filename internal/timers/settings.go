package timers

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"ferry/internal/microvm"
)

// File has what the timers of a host do.
const File = "/etc/ferry/timers.json"

const maxFile = 64 << 10 // bytes of the settings

// Settings are what File holds, as JSON. A key that is not there is not set, and
// docs/updates.md describes each.
type Settings struct {
	Update      *Update      `json:"update,omitempty"`
	FlakeUpdate *FlakeUpdate `json:"flakeUpdate,omitempty"`
}

// Update is one run of `ferry update` on the host itself.
type Update struct {
	Hydra         string   `json:"hydra,omitempty"`
	From          string   `json:"from,omitempty"`
	FromFlake     bool     `json:"fromFlake,omitempty"`
	AnyFlake      bool     `json:"anyFlake,omitempty"`
	AllowRedirect []string `json:"allowRedirect,omitempty"`
	// AllowHTTP lets the source be asked over http. Settings that are older than it
	// don't say so: see TakesHTTP.
	AllowHTTP *bool `json:"allowHttp,omitempty"`
	// AllowOlder takes a build that is older than the installed one of its job.
	AllowOlder bool `json:"allowOlder,omitempty"`

	Netrc string   `json:"netrc,omitempty"` // a file on the host
	Cache string   `json:"cache,omitempty"`
	VMs   []string `json:"vms,omitempty"` // none: all
	// Target has the addresses of the systems inside, VM=[USER@]HOST each, and
	// TargetSudo the VMs in which sudo makes root. Of others the host's own records
	// count.
	Target     []string `json:"target,omitempty"`
	TargetSudo []string `json:"targetSudo,omitempty"`
	Restart    string   `json:"restart,omitempty"`
	NoRollback bool     `json:"noRollback,omitempty"`
}

// TakesHTTP reports whether the source may be asked over http: where the settings
// say so, or name such a source and may be from before they could.
func (u *Update) TakesHTTP() bool { return u.AllowHTTP != nil && *u.AllowHTTP || u.UnsaidHTTP() }

// UnsaidHTTP reports whether the source is asked over http though nobody said that
// this is meant.
func (u *Update) UnsaidHTTP() bool {
	place, err := url.Parse(cmp.Or(u.Hydra, u.From))
	return u.AllowHTTP == nil && err == nil && place.Scheme == "http"
}

// FlakeUpdate is one run of `ferry flake-update`.
type FlakeUpdate struct {
	Repository string   `json:"repository,omitempty"` // a directory on the host
	Branch     string   `json:"branch,omitempty"`
	Push       string   `json:"push,omitempty"`
	Inputs     []string `json:"inputs,omitempty"` // none: all
}

// SettingsError is a settings file that can't be meant.
type SettingsError struct {
	Path string // update.vms
	Why  string
}

func (e *SettingsError) Error() string {
	if e.Path == "" {
		return "the settings " + e.Why
	}
	return fmt.Sprintf("the setting `%s` %s", e.Path, e.Why)
}

// Hint is what to do next.
func (e *SettingsError) Hint() string {
	return "correct " + File + ", or write it again with ferry host timer"
}

// Decode reads settings, strictly: an unknown key, a key that is there twice, a
// wrong type and a bad value are a *SettingsError.
func Decode(data []byte) (Settings, error) {
	var s Settings
	if len(data) > maxFile {
		return s, &SettingsError{Why: fmt.Sprintf("have more than %d bytes", maxFile)}
	}
	if err := strict("", data, &s); err != nil {
		return Settings{}, err
	}
	if err := s.check(); err != nil {
		return Settings{}, err
	}
	return s, nil
}

func (s *Settings) check() error {
	if u := s.Update; u != nil {
		if err := u.check(); err != nil {
			return err
		}
	}
	if f := s.FlakeUpdate; f != nil {
		return f.check()
	}
	return nil
}

func (u *Update) check() error {
	wrong := func(key, format string, a ...any) error {
		return &SettingsError{Path: "update." + key, Why: fmt.Sprintf(format, a...)}
	}
	sources := 0
	for _, given := range []bool{u.Hydra != "", u.From != "", u.FromFlake} {
		if given {
			sources++
		}
	}
	switch {
	case sources != 1:
		return &SettingsError{Path: "update", Why: "needs one source, and one only: `hydra`, `from` or `fromFlake`"}
	case u.Restart != "" && !slices.Contains([]string{"auto", "if-needed", "always", "never"}, u.Restart):
		return wrong("restart", "is %.40q instead of auto, if-needed, always or never", u.Restart)
	case u.Netrc != "" && !filepath.IsAbs(u.Netrc):
		return wrong("netrc", "is %.80q, which is not an absolute path", u.Netrc)
	case u.From != "" && !strings.Contains(u.From, "://") && !filepath.IsAbs(u.From):
		return wrong("from", "is %.80q, which is neither a URL nor an absolute path", u.From)
	}
	for i, n := range u.VMs {
		if _, err := microvm.ParseName(n); err != nil {
			return wrong(fmt.Sprintf("vms[%d]", i), "is wrong: %v", err)
		}
	}
	return u.checkTargets()
}

func (f *FlakeUpdate) check() error {
	if !filepath.IsAbs(f.Repository) {
		return &SettingsError{Path: "flakeUpdate.repository", Why: fmt.Sprintf("is %.80q, which is not an absolute path", f.Repository)}
	}
	return nil
}

// Read reads a settings file, which must be root's alone: what it says is done
// as root. Without the file nothing is set.
func Read(path string) (Settings, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Settings{}, nil
	}
	if err != nil {
		return Settings{}, fmt.Errorf("reading the timers' settings: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Settings{}, fmt.Errorf("reading the timers' settings: %w", err)
	}
	if info.IsDir() {
		return Settings{}, &SettingsError{Why: "can't be read: " + path + " is a directory"}
	}
	if !info.Mode().IsRegular() {
		return Settings{}, &SettingsError{Why: "can't be read: " + path + " is not a regular file"}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return Settings{}, &SettingsError{Why: "in " + path + " can be written by others than root: they are not used"}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Settings{}, fmt.Errorf("reading the timers' settings: %w", err)
	}
	return Decode(data)
}
