package examine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"ferry/internal/host/inventory"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/runner"
	"ferry/internal/systemd"
)

// stateDir is the directory that the units of VMs work in.
func stateDir(ctx context.Context, units *systemd.Manager, usual string) string {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if t, err := units.Template(ctx); err == nil && t.StateDir != "" {
		return t.StateDir
	}
	return usual
}

func unit(ctx context.Context, units *systemd.Manager) (func(*hostapi.Examined), error) {
	t, err := units.Template(ctx)
	if err != nil {
		return nil, err
	}
	settle, err := units.Enabled(ctx, "ferry-settle.service")
	if err != nil {
		return nil, err
	}
	listed, err := units.List(ctx, "ferry-*")
	if err != nil {
		return nil, err
	}
	u := hostapi.ExaminedUnit{File: t.File, DropIns: few(t.DropIns), Waits: t.Waits, Settle: settle, User: hasEntry(ctx, "passwd", "microvm"), Group: hasEntry(ctx, "group", "kvm")}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if listed[name].ActiveState == "failed" && len(u.Failed) < maxNames {
			u.Failed = append(u.Failed, name)
		}
	}
	return func(e *hostapi.Examined) { e.Unit = u }, nil
}

// state looks who could put something in the place of a VM.
func (h Host) state(context.Context) (func(*hostapi.Examined), error) {
	s := hostapi.ExaminedState{Path: h.Layout.StateDir}
	fi, err := os.Stat(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return func(e *hostapi.Examined) { e.State = s }, nil
	}
	if err != nil {
		return nil, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("the owner of %s is not known", s.Path)
	}
	s.Mode = fmt.Sprintf("owner %d:%d, mode %04o", st.Uid, st.Gid, fi.Mode().Perm())
	s.Protected = int(st.Uid) == h.Layout.Owner && (fi.Mode().Perm()&0o022 == 0 || fi.Mode()&fs.ModeSticky != 0)
	if s.Protected { // elsewhere owners say nothing
		if s.Strays, err = h.strays(); err != nil {
			return nil, err
		}
	}
	return func(e *hostapi.Examined) { e.State = s }, nil
}

func (h Host) strays() ([]string, error) {
	names, err := h.Layout.Names()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, n := range names {
		strays, err := h.Layout.VM(n).Strays()
		if err != nil {
			all = append(all, short(fmt.Sprintf("%s: %v", n, err)))
		}
		for _, s := range strays {
			all = append(all, short(s.Path+" ("+s.Why+")"))
		}
		if len(all) >= maxNames {
			break
		}
	}
	return few(all), nil
}

// left looks for what deployments have left.
func (h Host) left(context.Context) (func(*hostapi.Examined), error) {
	noted, err := h.Layout.Noted()
	if err != nil {
		return nil, err
	}
	var l hostapi.ExaminedLeft
	for _, vm := range noted {
		note, err := vm.Notes().Deployment()
		if errors.Is(err, fs.ErrNotExist) || len(l.Notes) == maxNames {
			continue
		}
		if err != nil {
			l.Notes = append(l.Notes, hostapi.LeftNote{VM: vm.Name(), Why: short("the note can't be read: " + err.Error())})
			continue
		}
		holder := vm.Lock().Holder()
		l.Notes = append(l.Notes, hostapi.LeftNote{VM: vm.Name(), Deployment: short(note.ID), By: short(note.By), Started: note.Started,
			Working: holder != nil || note.Awaits(vm.Now()) > 0, Why: short(note.LastError)})
	}
	l.Dangling = h.dangling(l.Notes)
	l.Helpers, l.Uploads = h.helpers()
	return func(e *hostapi.Examined) { e.Left = l }, nil
}

// dangling are the roots of VMs that lead to nothing. Those of a deployment under way
// may: what they keep is still to come.
func (h Host) dangling(under []hostapi.LeftNote) []string {
	var all []string
	add := func(root string) {
		_, err := os.Stat(root)
		if errors.Is(err, fs.ErrNotExist) && len(all) < maxNames {
			all = append(all, root)
		}
	}
	working := func(vm string) bool {
		return slices.ContainsFunc(under, func(n hostapi.LeftNote) bool { return string(n.VM) == vm })
	}
	for _, e := range entries(h.Layout.MicrovmRoots()) {
		// A VM that has never had another runner, or was never started, has no such link.
		if !strings.HasPrefix(e, "old-") && !strings.HasPrefix(e, "booted-") {
			add(filepath.Join(h.Layout.MicrovmRoots(), e))
		}
	}
	ours := filepath.Join(h.Layout.GCRoots, "ferry")
	for _, vm := range entries(ours) {
		if working(vm) {
			continue
		}
		for _, e := range entries(filepath.Join(ours, vm)) {
			add(filepath.Join(ours, vm, e))
		}
	}
	return all
}

// entries are the names in a directory, if there is one.
func entries(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(10_000)
	slices.Sort(names)
	return names
}

// oldUpload is after how long an upload that is still there was cut off.
const oldUpload = time.Hour

// helpers counts the versions that are kept, and finds what uploads have left.
func (h Host) helpers() (versions int, uploads []string) {
	bin := filepath.Join(h.Layout.Lib, "bin")
	for _, name := range entries(bin) {
		fi, err := os.Lstat(filepath.Join(bin, name))
		switch {
		case err == nil && strings.HasPrefix(name, "tmp.") && time.Since(fi.ModTime()) > oldUpload:
			uploads = append(uploads, filepath.Join(bin, name))
		case len(name) == 64:
			versions++
		}
	}
	return versions, few(uploads)
}

func (h Host) vms(ctx context.Context) (func(*hostapi.Examined), error) {
	l := inventory.NewLister(ctx, h.Layout)
	defer l.Close()
	listed, err := l.List(ctx)
	var refused *hostapi.Failure
	if errors.As(err, &refused) { // not a host yet, which another look says
		return func(*hostapi.Examined) {}, nil
	}
	if err != nil {
		return nil, err
	}
	var vms []hostapi.ExaminedVM
	for _, v := range listed {
		n, ok := v.VM()
		if ok && len(vms) < 1000 {
			e := hostapi.ExaminedVM{Name: n, State: string(v.State), Running: v.Running, Declared: v.Declared, Problem: short(strings.Join(v.Problems, "; "))}
			h.inside(&e, cmp.Or(v.Booted, v.Current))
			vms = append(vms, e)
		}
	}
	return func(e *hostapi.Examined) { e.VMs = vms }, nil
}

// inside is what a runner says of the guest: by the record that ferry has kept of it,
// or by its files, where others have installed it.
func (h Host) inside(e *hostapi.ExaminedVM, p microvm.StorePath) {
	if p == "" {
		return
	}
	r, err := runner.Open(h.Layout.Root, p)
	if err == nil {
		e.HostName = short(r.HostName())
	}
	shares, known := r.SharesStore()
	if rec := h.Layout.VM(e.Name).Notes().Record(p); rec != nil {
		e.HostName, shares, known = short(rec.HostName), rec.SharesStore(), true
	}
	switch {
	case shares:
		e.Store = hostapi.StoreShared
	case known:
		e.Store = hostapi.StoreOwn
	}
}

// maxStore bounds how many paths of the store are looked at.
const maxStore = 500_000

// newest is the path that came into the store last: a guest that shares it sees that,
// without anything being added for the question.
func (h Host) newest(ctx context.Context) (func(*hostapi.Examined), error) {
	store := filepath.Join(h.Layout.Root, microvm.StoreDir)
	f, err := os.Open(store)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var newest hostapi.ExaminedPath
	for seen := 0; seen < maxStore && ctx.Err() == nil; {
		names, err := f.Readdirnames(1000)
		for _, name := range names {
			newest = newer(newest, store, name)
		}
		seen += len(names)
		if err != nil {
			break
		}
	}
	return func(e *hostapi.Examined) { e.Newest = newest }, ctx.Err()
}

func newer(than hostapi.ExaminedPath, store, name string) hostapi.ExaminedPath {
	p, err := microvm.ParseStorePath(microvm.StoreDir + "/" + name)
	if err != nil || strings.HasSuffix(name, ".lock") || strings.HasSuffix(name, ".chroot") || p.IsDerivation() {
		return than
	}
	at, err := changed(filepath.Join(store, name))
	if err != nil || !at.After(than.At) {
		return than
	}
	return hostapi.ExaminedPath{Path: p, At: at}
}
