package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferry/internal/lab"
	"ferry/internal/release"
)

// demoFlake is where the lab has the operator's flake.
const demoFlake = "/root/infra"

func demoCommand(root *string) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show ferry's main job in the lab, as a user would type it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			l, err := lab.Up(cmd.Context(), lab.Options{Root: *root, Log: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			if !keep {
				defer func() { err = errors.Join(err, l.Down(context.WithoutCancel(cmd.Context()))) }()
			}
			d := &demo{out: cmd.OutOrStdout()}
			if d.operator, err = l.Machine("operator"); err != nil {
				return err
			}
			if d.host, err = l.Machine("host1"); err != nil {
				return err
			}
			if err := l.ResetFlake(cmd.Context()); err != nil {
				return err
			}
			if err := d.run(cmd.Context()); err != nil {
				return err
			}
			if keep {
				fmt.Fprintf(d.out, "\nThe lab is still up. Try: go run ./cmd/lab exec operator -- sh -c 'cd %s && ferry rebuild web'\nEnd it with: go run ./cmd/lab down\n", demoFlake)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the lab up for playing")
	return cmd
}

// demo types commands on the operator and checks what they show: a demo that
// shows something else fails.
type demo struct {
	operator, host *lab.Machine
	out            io.Writer
}

func (d *demo) run(ctx context.Context) error {
	began := time.Now()
	if err := d.installFerry(ctx); err != nil {
		return err
	}
	if err := d.forgetWeb(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\nThe operator has a flake with a MicroVM `web`; host1 is a server that runs MicroVMs.\n")
	if _, err := d.types(ctx, "sed -n '/vms.web/p;/hosts.host1/p' flake.nix"); err != nil {
		return err
	}

	d.says("The first deployment builds on the host and boots the VM, which serves a page.")
	if _, err := d.shows(ctx, "ferry rebuild web", "web: started on root@host1 (generation 1)"); err != nil {
		return err
	}
	if _, err := d.shows(ctx, "curl -s http://web/", "Hello"); err != nil {
		return err
	}
	boot, err := d.types(ctx, "ssh root@web cat /proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}

	d.says("A change in the flake is switched live: the same boot id, a new page.")
	if _, err := d.types(ctx, `sed -i 's/"Hello"/"Hello again"/' vms/web.nix`); err != nil {
		return err
	}
	if _, err := d.shows(ctx, "ferry rebuild web", "web: switched live on root@host1 (generation 2)", boot); err != nil {
		return err
	}
	if _, err := d.shows(ctx, "curl -s http://web/", "Hello again"); err != nil {
		return err
	}

	d.says("A change of memory can't be switched live: it is reported, and waits.")
	if _, err := d.types(ctx, `sed -i 's/microvm.mem = 512/microvm.mem = 768/' vms/web.nix`); err != nil {
		return err
	}
	if _, err := d.shows(ctx, "ferry rebuild web", "memory 512 → 768 MiB waits for a restart"); err != nil {
		return err
	}
	d.says("One restart applies it: a new boot id.")
	said, err := d.shows(ctx, "ferry rebuild web --restart=if-needed", "web: restarted on root@host1", "memory 512 → 768 MiB", "boot id")
	if err != nil {
		return err
	}
	if strings.Contains(said, boot) {
		return fmt.Errorf("the VM was not booted again: boot id %s", boot)
	}

	d.says("A second run finds nothing to do, and restarts nothing.")
	unit := "systemctl show -p InvocationID microvm@web"
	before, err := d.host.Output(ctx, "sh", "-c", unit)
	if err != nil {
		return err
	}
	if _, err := d.shows(ctx, "ferry rebuild web", "web: unchanged on root@host1"); err != nil {
		return err
	}
	if after, err := d.host.Output(ctx, "sh", "-c", unit); err != nil || after != before {
		return fmt.Errorf("the VM's unit was restarted: %s, then %s (%v)", before, after, err)
	}
	fmt.Fprintf(d.out, "\nThat was ferry's main job, in %.0f s.\n", time.Since(began).Seconds())
	return nil
}

func (d *demo) installFerry(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "ferry-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "ferry")
	if err := (release.Build{To: binary}).Do(ctx); err != nil {
		return err
	}
	return d.operator.Install(ctx, binary, "/usr/local/bin/ferry", 0o755)
}

// forgetWeb removes the VM of an earlier demo from a lab that was kept.
func (d *demo) forgetWeb(ctx context.Context) error {
	_, err := d.host.Output(ctx, "sh", "-c", `systemctl stop microvm@web; cd /
rm -rf /var/lib/microvms/web /var/lib/ferry/vms/web /nix/var/nix/profiles/ferry/web /nix/var/nix/gcroots/ferry/web \
  /nix/var/nix/gcroots/microvm/web /nix/var/nix/gcroots/microvm/booted-web /nix/var/nix/gcroots/microvm/old-web`)
	return err
}

func (d *demo) says(text string) { fmt.Fprintf(d.out, "\n# %s\n", text) }

// types shows a command as a user types it and its real output. It returns what
// went to stdout, without the white space around it.
func (d *demo) types(ctx context.Context, line string) (string, error) {
	fmt.Fprintf(d.out, "$ %s\n", line)
	var said bytes.Buffer
	err := d.operator.Run(ctx, lab.Cmd{
		Args: []string{"sh", "-c", line}, Dir: demoFlake,
		Stdout: io.MultiWriter(d.out, &said), Stderr: d.out,
	})
	if err != nil {
		return "", fmt.Errorf("$ %s: %w", line, err)
	}
	return strings.TrimSpace(said.String()), nil
}

// shows is types for a command whose stdout must have all of the texts.
func (d *demo) shows(ctx context.Context, line string, texts ...string) (string, error) {
	said, err := d.types(ctx, line)
	if err != nil {
		return said, err
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			return said, fmt.Errorf("$ %s: its output lacks %q", line, text)
		}
	}
	return said, nil
}
