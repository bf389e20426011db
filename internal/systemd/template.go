package systemd

import (
	"context"
	"path"
)

// Template is how the units of VMs are on this host, whatever VMs there are.
type Template struct {
	File     string // of microvm@.service; empty: there is none
	DropIns  []string
	StateDir string // empty: not known
	// Waits: a stop waits for the guest's own shutdown.
	Waits bool
}

// templateVM stands for any VM; none has this name.
const templateVM = "ferry-doctor"

// Template asks systemd for it.
func (s *Manager) Template(ctx context.Context) (Template, error) {
	props, err := s.Properties(ctx, "microvm@"+templateVM+".service")
	if err != nil {
		return Template{}, err
	}
	if state, _ := props["LoadState"].(string); state != "loaded" {
		return Template{}, nil
	}
	t := Template{Waits: waitsForMain(props["ExecStop"])}
	t.File, _ = props["FragmentPath"].(string)
	t.DropIns, _ = props["DropInPaths"].([]string)
	if dir, _ := props["WorkingDirectory"].(string); path.IsAbs(dir) && path.Base(dir) == templateVM {
		t.StateDir = path.Dir(path.Clean(dir))
	}
	return t, nil
}

// Enabled reports whether a unit has a file, and is enabled.
func (s *Manager) Enabled(ctx context.Context, unit string) (bool, error) {
	props, err := s.Properties(ctx, unit)
	if err != nil {
		return false, err
	}
	loaded, _ := props["LoadState"].(string)
	state, _ := props["UnitFileState"].(string)
	return loaded == "loaded" && (state == "enabled" || state == "static" || state == "linked" || state == "generated"), nil
}
