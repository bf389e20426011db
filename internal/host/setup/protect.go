package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"ferry/internal/microvm"
)

// protectedPath has what Protect took over.
const protectedPath = libDir + "/protected.json"

const protectionVersion = 1

// protection is how directories of VMs were before Protect, by the VMs' names. It
// is written before anything is changed.
type protection struct {
	Version int              `json:"version"`
	Was     map[string]owned `json:"was"`
	// Complete: all that was there before has been looked at. From then on, what is
	// in a directory of root's is not taken over.
	Complete bool `json:"complete,omitempty"`
}

// Protector makes the state directory of a host with microvm.nix's units root's,
// and gives it back. The units have to know: it is for ferry's NixOS module.
type Protector struct {
	*Setup
	// Log gets a line for each directory that changes.
	Log func(string)
	// owner is the user whose the VMs are without protection; empty: microvm, but in tests.
	owner string
}

// NewProtector works on this machine.
func NewProtector(log func(string)) (*Protector, error) {
	if os.Geteuid() != 0 {
		return nil, refuse("only root can protect the state directory", "run it as root")
	}
	return &Protector{Setup: &Setup{}, Log: log}, nil
}

// Protect takes over the state directory and, the first time, the directories of
// all VMs; later those that are not protected yet. What is in a protected one is
// left alone then, so whatever somebody plants there is not taken over by the next
// run. A VM that can't be taken over whole doesn't keep the others from it; the error
// names all that is left.
func (p *Protector) Protect() error {
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	was, err := p.readProtection()
	if err != nil {
		return err
	}
	if was == nil {
		was = &protection{Version: protectionVersion, Was: map[string]owned{}}
		if err := p.writeProtection(was); err != nil {
			return err
		}
	}
	if err := p.protectStateDir(); err != nil {
		return err
	}
	names, err := p.layout().Names()
	if err != nil {
		return err
	}
	var failed error
	for _, n := range names {
		if err := p.protectVM(was, n); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", n, err))
		}
	}
	if !was.Complete {
		was.Complete = true
		failed = errors.Join(failed, p.writeProtection(was))
	}
	return failed
}

func (p *Protector) protectStateDir() error {
	full := p.path(stateDir)
	if err := os.MkdirAll(full, 0o755); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	fi, err := os.Lstat(full)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return refuse(stateDir+" is not a directory", "look at it, and put a directory there")
	}
	before, err := owners(fi)
	if err != nil || before.UID == 0 && before.Mode&0o022 == 0 {
		return err
	}
	p.Log(stateDir + ": root's now")
	return p.give(full, owned{Mode: 0o755})
}

func (p *Protector) protectVM(was *protection, n microvm.Name) error {
	vm := p.layout().VM(n)
	protected, isVM, err := vm.Protected()
	if err != nil || !isVM || protected && was.Complete {
		return err
	}
	fi, err := os.Lstat(vm.Path())
	if err != nil {
		return err
	}
	before, err := owners(fi)
	if err != nil {
		return err
	}
	// The first that was seen counts: later owners are Protect's own.
	if _, known := was.Was[string(n)]; !known {
		was.Was[string(n)] = before
		if err := p.writeProtection(was); err != nil {
			return err
		}
	}
	p.Log(string(n) + ": root's now, with the links in it")
	return vm.TakeOver()
}

func (p *Protector) writeProtection(was *protection) error {
	b, err := json.MarshalIndent(was, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.path(libDir), 0o700); err != nil {
		return fmt.Errorf("making ferry's directory: %w", err)
	}
	return p.write(protectedPath, append(b, '\n'), 0o600)
}

// Unprotect gives directories back: the state directory to the user that VMs run
// as, which is how microvm.nix has it, those of VMs to whom they belonged. Links of
// root's stay root's but for `booted`, which that user makes and removes then.
// Without anything to undo it does nothing.
func (p *Protector) Unprotect() error {
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	was, err := p.readProtection()
	if was == nil || err != nil {
		return err
	}
	uid, gid, err := p.user()
	if err != nil {
		return err
	}
	names, err := p.layout().Names()
	if err != nil {
		return err
	}
	for _, n := range names {
		vm := p.layout().VM(n)
		if err := vm.GiveBooted(uid, gid); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		if before, taken := was.Was[string(n)]; taken {
			if err := p.give(vm.Path(), before); err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
			p.Log(string(n) + ": given back")
		}
	}
	if err := p.give(p.path(stateDir), owned{UID: uid, GID: gid, Mode: 0o775}); err != nil {
		return err
	}
	p.Log(stateDir + ": given back")
	return os.Remove(p.path(protectedPath))
}

// give sets the mode of a directory that is root's first: then it is another's.
func (p *Protector) give(dir string, to owned) error {
	root, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.Base(dir)
	if err := root.Lchown(name, 0, 0); err != nil {
		return err
	}
	if err := root.Chmod(name, to.Mode); err != nil {
		return err
	}
	return root.Lchown(name, to.UID, to.GID)
}

func (p *Protector) user() (uid, gid int, err error) {
	name := p.owner
	if name == "" {
		name = userName
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("finding the user that VMs run as: %w", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// readProtection returns nil where nothing was taken over.
func (p *Protector) readProtection() (*protection, error) {
	b, err := os.ReadFile(p.path(protectedPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was protected: %w", err)
	}
	was := &protection{}
	if err := json.Unmarshal(b, was); err != nil {
		return nil, fmt.Errorf("reading %s: %w", protectedPath, err)
	}
	if was.Version != protectionVersion || was.Was == nil {
		return nil, refuse(fmt.Sprintf("%s is of version %d, which this ferry does not know", protectedPath, was.Version), "use the newer ferry that wrote it")
	}
	return was, nil
}
