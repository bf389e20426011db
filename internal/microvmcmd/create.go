package microvmcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ferry/internal/cmdline"
	"ferry/internal/flake"
	"ferry/internal/host"
	"ferry/internal/host/vmstate"
	"ferry/internal/microvm"
)

// create makes a VM that does not exist yet. Nothing of it is there before it is
// built.
func (c *Command) create(ctx context.Context, o Options) error {
	d, err := c.Deploy(ctx)
	if err != nil {
		return err
	}
	if err := d.CheckCreate(ctx, o.Name); err != nil {
		return err
	}
	ref := o.Flake
	if ref == "" {
		if ref, err = c.defaultFlake("/etc/nixos"); err != nil {
			return err
		}
	}
	if ref, err = absolute(ref); err != nil {
		return err
	}
	if _, err := vmstate.ParseFlakeFile([]byte(ref)); err != nil {
		return &cmdline.UsageError{Err: fmt.Errorf("%.120q is not a flake reference for a VM's `flake` file: %v", ref, err), Next: "name the flake alone, such as git+https://git.example.org/infra"}
	}
	c.warnFixed(o.Name, ref)
	done, err := c.deploy(ctx, d, o.Name, ref, host.UpdateRequest{Create: true, Flake: ref})
	if err != nil {
		return err
	}
	c.warnings(o.Name, done)
	return c.Report.Text(fmt.Sprintf("Created MicroVM %s. Start it with: systemctl start %s\n", o.Name, o.Name.Unit()))
}

// deploy evaluates and updates. What was evaluated is not kept from a garbage
// collection until the update begins: if one came in between, it is done again.
func (c *Command) deploy(ctx context.Context, d Deployer, n microvm.Name, ref string, req host.UpdateRequest) (*host.Updated, error) {
	for attempt := 0; ; attempt++ {
		c.Report.Step(string(n), "evaluating %s", ref)
		eval, err := c.Evaluate.Evaluate(ctx, flake.Source{Ref: ref, Options: []string{"--refresh"}}, n)
		if err != nil {
			return nil, adviceFor(req.Create, err)
		}
		for _, w := range eval.Warnings {
			c.Report.Warn("%s", w)
		}
		req.Record, req.Deployment = eval.Record, deployment(eval)
		done, err := d.Update(ctx, req, c.Answers)
		if err == nil || attempt > 0 || done != nil || ctx.Err() != nil {
			return done, err
		}
		if _, serr := os.Stat(string(eval.Record.Runner.Drv)); !errors.Is(serr, fs.ErrNotExist) {
			return done, err
		}
	}
}

// defaultFlake is DefaultFlake, or the directory itself where it is in no git
// repository: there the default can't be read (microvm.nix#539).
func (c *Command) defaultFlake(dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, "flake.nix")); errors.Is(err, fs.ErrNotExist) {
		return "", &cmdline.UsageError{Err: fmt.Errorf("%s does not exist", filepath.Join(dir, "flake.nix")), Next: "name the flake: microvm -c NAME -f FLAKE"}
	}
	for up := dir; ; up = filepath.Dir(up) {
		if _, err := os.Stat(filepath.Join(up, ".git")); err == nil {
			if up == dir {
				return "git+file://" + dir, nil
			}
			return dir, nil // Nix finds the repository and the directory in it
		}
		if up == filepath.Dir(up) {
			return "path:" + dir, nil
		}
	}
}

// absolute makes a reference that is relative to the working directory mean the
// same wherever it is evaluated later: `.`, `./x`, `../x`, and `path:` or
// `git+file:` without an absolute path. Others stay as they are; a word without
// a scheme is a name in Nix's registry.
func absolute(ref string) (string, error) {
	location, query := ref, ""
	if i := strings.IndexByte(ref, '?'); i >= 0 {
		location, query = ref[:i], ref[i:]
	}
	scheme, path := "", location
	for _, s := range []string{"path:", "git+file:"} {
		if rest, ok := strings.CutPrefix(location, s); ok {
			scheme, path = s, rest
		}
	}
	relative := path == "." || path == ".." || strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../")
	if scheme != "" {
		relative = path != "" && path[0] != '/'
	}
	if !relative {
		return ref, nil
	}
	dir, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", ref, err)
	}
	if _, err := os.Stat(dir); err != nil {
		return "", &cmdline.UsageError{Err: fmt.Errorf("-f %s: %s does not exist", ref, dir), Next: "a relative path is taken from the working directory"}
	}
	if scheme == "git+file:" {
		scheme += "//"
	}
	return scheme + dir + query, nil
}

// warnFixed names a reference that no update will ever find anything new in
// (microvm.nix#55, #416).
func (c *Command) warnFixed(n microvm.Name, ref string) {
	if flake.FixedInStore(ref) {
		c.Report.Warn("%s: its flake is the fixed path %s, so updates never find anything new; "+
			"write a reference that moves into its `flake` file (on NixOS: microvm.vms.%s.updateFlake)", n, ref, n.Attribute())
	}
}

func (c *Command) warnings(n microvm.Name, done *host.Updated) {
	for _, w := range done.Warnings {
		c.Report.Warn("%s: %s", n, w)
	}
}
