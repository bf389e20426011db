package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Default places. The cache outlives every lab.
const (
	DefaultRoot  = "/var/lib/ferry-lab"
	DefaultCache = "/var/cache/ferry-lab"
)

// Options say what Up makes.
type Options struct {
	Hosts int       // number of hosts, at least 1; 0: as many as an existing lab has, else 1
	Root  string    // default DefaultRoot; two roots are two labs
	Cache string    // default DefaultCache
	Log   io.Writer // progress, one line a step; nil: nothing
	// Ferry is the static ferry binary that sets the hosts up; empty: it is built
	// from the module of the working directory.
	Ferry string
	// Memory keeps the machines' disks in memory where there is enough of it, about
	// 1 GiB a lab: nothing of a test's lab need be there after a crash, and no disk
	// is waited for.
	Memory bool
}

// Lab is a lab that runs.
type Lab struct {
	root     string
	cache    string
	log      io.Writer
	logMu    sync.Mutex
	rootfs   string // the cached tree below all machines
	ferry    string // Options.Ferry
	hosts    int
	machines []*Machine
}

// state is what lab.json in the root keeps for Open and the next Up.
type state struct {
	Hosts  int    `json:"hosts"`
	Cache  string `json:"cache"`
	Rootfs string `json:"rootfs"`
}

// ErrNotRunning is returned by Open where no lab runs.
var ErrNotRunning = errors.New("no lab is running here (start it with `go run ./cmd/lab up`)")

// Up makes a lab or completes one: machines that run stay as they are, what a
// crash left behind is cleaned up, what is missing is made. It returns when
// every machine's systemd and sshd answer. When it fails or ctx ends, the
// machines that it started are stopped again; a lab that it made is removed.
func Up(ctx context.Context, o Options) (*Lab, error) {
	l := newLab(o)
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab needs root (containers, mounts, network)")
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := l.installTools(ctx); err != nil {
		return nil, err
	}
	l.raiseLimits()
	if l.rootfs, err = l.ensureRootfs(ctx); err != nil {
		return nil, fmt.Errorf("making the root file system: %w", err)
	}
	old, err := l.readState()
	fresh := err != nil
	if err == nil && old.Rootfs != l.rootfs {
		l.logf("the root file system's recipe has changed: starting anew")
		fresh = true
	}
	if fresh {
		if err := l.clear(ctx); err != nil {
			return nil, fmt.Errorf("clearing an old lab: %w", err)
		}
		if o.Memory {
			if err := l.inMemory(); err != nil {
				return nil, err
			}
		}
	}
	l.hosts = max(o.Hosts, 1)
	if !fresh {
		l.hosts = max(o.Hosts, old.Hosts)
	}
	l.plan()
	if err := l.start(ctx); err != nil {
		if fresh {
			cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, l.clear(cctx))
		}
		return nil, err
	}
	return l, nil
}

func newLab(o Options) *Lab {
	l := &Lab{root: o.Root, cache: o.Cache, log: o.Log, ferry: o.Ferry}
	if l.root == "" {
		l.root = DefaultRoot
	}
	if l.cache == "" {
		l.cache = DefaultCache
	}
	return l
}

// start brings up network and machines; those running already are left alone.
func (l *Lab) start(ctx context.Context) error {
	if err := l.ensureNetwork(ctx); err != nil {
		return fmt.Errorf("making the network: %w", err)
	}
	if err := l.ensureKeys(ctx); err != nil {
		return fmt.Errorf("making keys: %w", err)
	}
	if err := l.ensureGuestRoot(ctx); err != nil {
		return fmt.Errorf("making the guests' root file system: %w", err)
	}
	// Recorded before the first container starts, so that after a crash `down`
	// and the next `up` know of this lab.
	if err := l.writeState(); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	var started []*Machine
	for _, m := range l.machines {
		if m.bare {
			continue
		}
		// A container guest mounts its host's store, so all mounts come first.
		if err := m.mount(); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	for _, m := range l.machines {
		g.Go(func() error {
			_, running := m.leader()
			if m.bare && !running {
				return nil
			}
			if running {
				if err := m.refresh(); err != nil {
					return fmt.Errorf("%s: %w", m.Name, err)
				}
				return m.waitReady(gctx)
			}
			mu.Lock()
			started = append(started, m)
			mu.Unlock()
			if err := m.start(gctx); err != nil {
				return fmt.Errorf("starting %s: %w", m.Name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	if err == nil {
		err = l.setUpHosts(ctx)
	}
	if err == nil {
		err = l.setUpFlake(ctx)
	}
	if err == nil {
		return nil
	}
	kctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for _, m := range started {
		err = errors.Join(err, m.Kill(kctx))
	}
	return err
}

// Open returns the lab that runs in root (empty: DefaultRoot), or ErrNotRunning.
func Open(root string) (*Lab, error) {
	l := newLab(Options{Root: root})
	s, err := l.readState()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	l.hosts, l.cache, l.rootfs = s.Hosts, s.Cache, s.Rootfs
	l.plan()
	if !l.hasNetwork() {
		return nil, ErrNotRunning
	}
	return l, nil
}

// Down ends the lab and removes everything of it but the cache: processes,
// mounts, network namespace, control groups and the root directory.
func (l *Lab) Down(ctx context.Context) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return l.clear(ctx)
}

// Down ends whatever lab is in root, also one that is half made.
func Down(ctx context.Context, root string) error {
	l := newLab(Options{Root: root})
	if _, err := os.Stat(l.root); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return l.Down(ctx)
}

// Machine returns the machine of that name.
func (l *Lab) Machine(name string) (*Machine, error) {
	for _, m := range l.machines {
		if m.Name == name {
			return m, nil
		}
	}
	var names []string
	for _, m := range l.machines {
		names = append(names, m.Name)
	}
	return nil, fmt.Errorf("the lab has no machine %q; it has %v", name, names)
}

// Machines lists all machines: operator, hosts, container guests.
func (l *Lab) Machines() []*Machine { return slices.Clone(l.machines) }

func (l *Lab) logf(format string, args ...any) {
	if l.log == nil {
		return
	}
	l.logMu.Lock()
	defer l.logMu.Unlock()
	fmt.Fprintf(l.log, "lab: "+format+"\n", args...)
}

func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.root}, elem...)...)
}

func (l *Lab) readState() (state, error) {
	var s state
	b, err := os.ReadFile(l.path("lab.json"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w", l.path("lab.json"), err)
	}
	return s, nil
}

func (l *Lab) writeState() error {
	b, err := json.MarshalIndent(state{Hosts: l.hosts, Cache: l.cache, Rootfs: l.rootfs}, "", "  ")
	if err != nil {
		return err
	}
	tmp := l.path("lab.json.new")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, l.path("lab.json"))
}
