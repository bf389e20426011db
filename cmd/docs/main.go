// Command docs writes what packages of ferry install beside the program: the
// manual pages and the shells' completion scripts, all made from the commands. The
// same source yields the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"ferry/internal/cli"
	"ferry/internal/completion"
)

func main() {
	to := flag.String("o", "", "the directory that gets share/")
	version := flag.String("version", "", "the tag of a release")
	flag.Parse()
	if *to == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: docs -o DIR [-version TAG]")
		os.Exit(2)
	}
	if err := write(*to, *version); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

// write writes all files below dir.
func write(dir, version string) error {
	for name, data := range files(version) {
		file := filepath.Join(dir, "share", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// files are all files by their names below share/.
func files(version string) map[string][]byte {
	found := map[string][]byte{}
	root := cli.Command()
	for _, s := range completion.Shells() {
		found[s.File] = s.Script(root)
	}
	for name, page := range pages(root, version) {
		found[filepath.Join("man", "man1", name+".1")] = page
	}
	return found
}
