//go:build lab

package main

import (
	"context"
	"errors"
	"fmt"

	"ferry/internal/host/step"
	"ferry/internal/lab"
)

// Disk full: the directory in question is on a small file system of its own,
// which runs out of blocks and of inodes; so no link can be made either.

const noSpace = "no space left"

// big is a deployment whose build needs 64 MiB of the store.
var big = way{name: "restart", machine: process, module: func(name string, rev int) string {
	return lab.ProcessVM(name, fmt.Sprintf(`lab.note = "%d";`, rev),
		fmt.Sprintf(`environment.systemPackages = [ (packages.run "big-%s-%d" { } "mkdir $out; dd if=/dev/zero of=$out/big bs=1M count=64 status=none") ];`, name, rev))
}}

func diskFullTrials() []trial {
	full := func(dir, step string, where place, left int) trial {
		t := trial{
			way: &big, step: step, where: where, fault: fault{name: "full " + dir}, ends: "A", says: noSpace,
			after:   func(ctx context.Context, s *subject) error { return s.free(ctx, dir) },
			cleanup: func(ctx context.Context, s *subject) error { return s.restoreDisk(ctx, dir) },
			before: func(ctx context.Context, s *subject) error {
				if err := s.smallDisk(ctx, dir); err != nil || where != nowhere {
					return err
				}
				return s.fill(ctx, dir, left)
			},
		}
		if where != nowhere {
			t.fault.inflict = func(ctx context.Context, s *subject, h held) error {
				if err := s.fill(ctx, dir, left); err != nil {
					return err
				}
				return s.letGo(ctx, h.where)
			}
		}
		return t
	}
	notes := full("/var/lib/ferry", "noting it", nowhere, 0)
	notes.unnoted = true
	// Here a note is dropped before the next is written, which may just do.
	late := full("/var/lib/ferry", string(step.Restart), onHost, 0)
	late.ends, late.says = "", ""
	return []trial{
		full("/nix", "copying", nowhere, 0),
		full("/nix", "building", nowhere, 16<<20),
		full("/nix", string(step.Profile), onHost, 0),
		full("/var/lib/microvms", string(step.Old), onHost, 0),
		full("/var/lib/microvms", string(step.Current), onHost, 0),
		full("/var/lib/microvms", string(step.Flake), onHost, 0),
		notes,
		full("/var/lib/ferry", string(step.Profile), onHost, 0),
		late,
		undoneWithoutSpace(),
		collectedBeforeUndo(),
	}
}

// undoneWithoutSpace kills the helper before it undoes what has failed, while nothing
// more can be written. The disks stay full until the guard, or the operator's next
// session, has put the links back and started what ran before.
func undoneWithoutSpace() trial {
	dirs := []string{"/var/lib/ferry", "/var/lib/microvms"}
	each := func(ctx context.Context, do func(context.Context, string) error) error {
		var errs []error
		for _, dir := range dirs {
			errs = append(errs, do(ctx, dir))
		}
		return errors.Join(errs...)
	}
	return trial{
		way: &undone, step: string(step.Undo), where: onHost, ends: "A",
		before:  func(ctx context.Context, s *subject) error { return each(ctx, s.smallDisk) },
		cleanup: func(ctx context.Context, s *subject) error { return each(ctx, s.restoreDisk) },
		fault: fault{name: "helper killed, disks full", inflict: func(ctx context.Context, s *subject, h held) error {
			full := each(ctx, func(ctx context.Context, dir string) error { return s.fill(ctx, dir, 0) })
			if err := errors.Join(full, killHeld(ctx, s, h)); err != nil {
				return err
			}
			seen := until(ctx, settleLimit, func() error {
				_, err := s.on(ctx, onHost, `vm=/var/lib/microvms/$1
new=$(readlink "/nix/var/nix/gcroots/ferry/$1/pending")
[ "$(readlink "$vm/current")" != "$new" ] && [ "$(readlink "$vm/booted")" = "$(readlink "$vm/current")" ] && systemctl is-active --quiet "microvm@$1"`, s.name)
				return err
			})
			if seen != nil {
				seen = fmt.Errorf("nothing is undone on full disks: %w", seen)
			}
			return errors.Join(seen, each(ctx, s.free))
		}},
	}
}

// collectedBeforeUndo deletes old generations while the new runner is current, and
// kills the helper before it undoes that.
func collectedBeforeUndo() trial {
	return trial{
		way: &undone, step: string(step.Undo), where: onHost, ends: "A",
		fault: fault{name: "helper killed, old generations collected", inflict: func(ctx context.Context, s *subject, h held) error {
			if _, err := s.on(ctx, onHost, `nix-collect-garbage -d`); err != nil {
				return err
			}
			return killHeld(ctx, s, h)
		}},
	}
}

// smallDisk puts a directory of the host on a file system of 256 MiB.
func (s *subject) smallDisk(ctx context.Context, dir string) error {
	_, err := s.on(ctx, onHost, `set -e
if [ "$1" = /nix ] && systemctl --quiet is-active nix-daemon.socket; then daemon=yes; fi
[ -z "$daemon" ] || systemctl stop nix-daemon.socket nix-daemon.service
mkdir -p /run/small
mount -t tmpfs -o size=256m,nr_inodes=20000,mode=755 small /run/small
cp -a "$1/." /run/small/
mount --bind /run/small "$1"
umount /run/small
[ -z "$daemon" ] || systemctl start nix-daemon.socket`, dir)
	return err
}

// fill leaves so many bytes, and no inode if these are 0.
func (s *subject) fill(ctx context.Context, dir string, left int) error {
	_, err := s.on(ctx, onHost, `set -e
mkdir "$1/filler"
if [ "$2" = 0 ]; then
	cd "$1/filler"
	seq 20000 | xargs touch 2>/dev/null || :
fi
fallocate -l $(($(stat -f -c '%a * %S' "$1") - $2)) /proc/self/fd/9 9>"$1/filler/1"`, dir, fmt.Sprint(left))
	return err
}

func (s *subject) free(ctx context.Context, dir string) error {
	_, err := s.on(ctx, onHost, `rm -rf "$1/filler"`, dir)
	return err
}

// restoreDisk gives the host its own directory again, in which the VM is as it
// was before the trial: it is removed.
func (s *subject) restoreDisk(ctx context.Context, dir string) error {
	_, err := s.on(ctx, onHost, `systemctl stop "microvm@$2"
systemctl --quiet is-active nix-daemon.socket && systemctl stop nix-daemon.socket nix-daemon.service && daemon=yes
umount -l "$1" || exit 1
[ -z "$daemon" ] || systemctl start nix-daemon.socket`, dir, s.name)
	return err
}
