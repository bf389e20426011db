package unfinished

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ferry/internal/host/install"
	"ferry/internal/host/undo"
	"ferry/internal/host/vmstate"
)

// HandOver has the program settle a deployment that wrote its note, where this one
// does not understand it.
func (h Host) HandOver(ctx context.Context, vm vmstate.VM, left *vmstate.Note, booting bool) error {
	refused := newer(vm, left)
	if left.Helper == nil {
		return refused
	}
	if err := checkProgram(*left.Helper, h.See.Layout.Owner); err != nil {
		refused.Message += fmt.Sprintf("; the program that wrote it can't be used: %v", err)
		return refused
	}
	ctx, cancel := context.WithTimeout(ctx, install.Timeout+undo.Timeout)
	defer cancel()
	args := []string{"host", "settle"}
	if booting {
		args = append(args, "--boot")
	}
	cmd := exec.CommandContext(ctx, left.Helper.Path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.500s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(said))
	}
	if now, err := vm.Notes().Deployment(); !errors.Is(err, fs.ErrNotExist) && (err != nil || now.ID == left.ID) {
		return ErrBusy // its time has not come
	}
	return nil
}

// checkProgram makes sure that a program is the one that was noted, and that only
// root could have put it there.
func checkProgram(p vmstate.Helper, root int) error {
	if !filepath.IsAbs(p.Path) {
		return fmt.Errorf("%.200q is not an absolute path", p.Path)
	}
	f, err := os.OpenFile(p.Path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !fi.Mode().IsRegular() || !ok || int(st.Uid) != root || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not root's alone", p.Path)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != p.SHA256 {
		return fmt.Errorf("%s has changed since", p.Path)
	}
	return nil
}
