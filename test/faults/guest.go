//go:build lab

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"ferry/internal/lab"
)

// lookInsideScript prints what the guest runs, its profile and ferry's units.
const lookInsideScript = `readlink -f /run/current-system
readlink -f /nix/var/nix/profiles/system || echo
systemctl list-units --all --plain --no-legend 'ferry-*' | cut -d' ' -f1`

// lookInside fills in what the guest says, where the way has a guest.
func (s *subject) lookInside(ctx context.Context, st *state) error {
	if s.way.target == "" {
		return nil
	}
	var out string
	err := until(ctx, 2*time.Minute, func() (err error) {
		out, err = s.on(ctx, inGuest, lookInsideScript)
		return err
	})
	if err != nil {
		return fmt.Errorf("the guest does not answer: %w", err)
	}
	lines := strings.Split(out, "\n")
	if len(lines) < 2 {
		return fmt.Errorf("the guest said %q", out)
	}
	st.system, st.profile, st.guestUnits = lines[0], lines[1], lines[2:]
	return nil
}

// bootGuest boots the container guest with what the unit has booted, without a
// system profile: as a guest whose root file system is new at each boot.
func (s *subject) bootGuest(ctx context.Context) error {
	system, err := s.on(ctx, onHost, `readlink "/var/lib/microvms/$1/booted/share/microvm/system"`, s.name)
	if err != nil {
		return fmt.Errorf("looking for the booted system: %w", err)
	}
	if err := s.guest.Kill(ctx); err != nil {
		return err
	}
	links, err := filepath.Glob(s.guest.Path("/nix/var/nix/profiles/system*"))
	if err != nil {
		return err
	}
	for _, link := range links {
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	if s.plays, err = s.invocation(ctx); err != nil {
		return err
	}
	s.playing = s.name
	return s.BootGuest(ctx, s.guest.Name, system)
}

// playedByGuest sees to it that the container guest is this VM's inside, booted
// when its unit was started.
func (s *subject) playedByGuest(ctx context.Context) error {
	if s.way.machine != container {
		return nil
	}
	if s.playing != s.name {
		// Only with its unit does a VM boot what is current.
		if _, err := s.on(ctx, onHost, `systemctl restart "microvm@$1"`, s.name); err != nil {
			return err
		}
		return s.bootGuest(ctx)
	}
	now, err := s.invocation(ctx)
	if err != nil || now == s.plays {
		return err
	}
	return s.bootGuest(ctx)
}

// follow makes the container guest live and die with the VM's unit until the
// returned function is called, which waits until the two agree.
func (s *subject) follow(ctx context.Context) func() error {
	if s.way.machine != container {
		return func() error { return nil }
	}
	var mu sync.Mutex
	agree := func() error {
		mu.Lock()
		defer mu.Unlock()
		now, err := s.invocation(ctx)
		switch {
		case err != nil || now == s.plays && s.guest.Running():
			return err
		case now == "":
			return s.guest.Kill(ctx)
		}
		return s.bootGuest(ctx)
	}
	fctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-time.After(300 * time.Millisecond):
				_ = agree() // a host that is down is asked again
			case <-fctx.Done():
				return
			}
		}
	})
	return func() error { stop(); wg.Wait(); return agree() }
}

// invocation names the current start of the VM's unit; empty while it is down.
func (s *subject) invocation(ctx context.Context) (string, error) {
	return s.on(ctx, onHost, `systemctl is-active --quiet "microvm@$1" || exit 0; systemctl show --value -p InvocationID "microvm@$1"`, s.name)
}

// until tries every 200 ms until there is no error; the limit is in patience
// (lab.Await).
func until(ctx context.Context, limit time.Duration, try func() error) error {
	return lab.Await(ctx, limit, 200*time.Millisecond, func(context.Context) error { return try() })
}
