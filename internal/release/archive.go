package release

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// part is a file of an archive.
type part struct {
	name string // in the archive
	file string // on this machine
	mode fs.FileMode
}

// below lists the files of a directory by their paths in it.
func below(dir string) []part {
	var parts []part
	_ = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err // what can't be read is missed when it is copied
		}
		name, err := filepath.Rel(dir, file)
		parts = append(parts, part{filepath.ToSlash(name), file, 0o644})
		return err
	})
	return parts
}

// writeTar packs the parts below one directory. The bytes depend on nothing else:
// no owner, no time and no order of this machine.
func writeTar(to, dir string, parts []part, date time.Time) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, f.Close()) }()
	z, _ := gzip.NewWriterLevel(f, gzip.BestCompression) // the level is valid
	w := tar.NewWriter(z)
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b part) int { return cmp.Compare(a.name, b.name) })
	for _, p := range sorted {
		b, err := os.ReadFile(p.file)
		if err != nil {
			return err
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: dir + "/" + p.name, Size: int64(len(b)), Mode: int64(p.mode.Perm()),
			ModTime: date, Uname: "root", Gname: "root", Format: tar.FormatUSTAR,
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return z.Close()
}

// writeGzip compresses without a name and a time.
func writeGzip(to string, content []byte) (err error) {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, f.Close()) }()
	z, _ := gzip.NewWriterLevel(f, gzip.BestCompression) // the level is valid
	if _, err := z.Write(content); err != nil {
		return err
	}
	return z.Close()
}
