// Package units holds the systemd units that make any systemd distribution a
// host of MicroVMs in /var/lib/microvms. It is data only. NixOS hosts with
// microvm.nix's host module have their equals and must not get these.
package units

import (
	"embed"
	"io/fs"
)

//go:embed *.service *.target
var files embed.FS

// Unit is a systemd unit file.
type Unit struct {
	Name    string // file name, as below /etc/systemd/system
	Content string
}

// All returns the units, sorted by name.
func All() []Unit {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // embedded at build time
	}
	var units []Unit
	for _, e := range entries {
		content, err := fs.ReadFile(files, e.Name())
		if err != nil {
			panic(err)
		}
		units = append(units, Unit{Name: e.Name(), Content: string(content)})
	}
	return units
}
