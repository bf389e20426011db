package cli

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/deploy/request"
	"ferry/internal/flake"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/microvm"
	"ferry/internal/nix"
)

// attachOptions are those of `ferry attach`.
type attachOptions struct {
	place      option.Place
	target     string
	targetSudo bool
	takeOver   bool
	settle     hostapi.SettleChoice
	confirm    option.Confirm
}

func attachCommand(a *console.Console) *cobra.Command {
	var o attachOptions
	cmd := &cobra.Command{
		Use:   "attach [NAME] [ID]",
		Short: "Resume a deployment whose connection was lost, or show how it ended",
		Long: `Resumes a deployment that lost its operator: the connection broke, or ferry was
killed. Waits for what still runs on the host, and shows its output. Where the
host or the guest still waits for a confirmation, runs the deployment's checks now
and confirms or undoes it. Otherwise shows how the deployment ended.

Where to log in and what to run there is never taken from the host. The machine
that began the deployment remembers it. On another machine the flake says so,
where it yields the runner that was deployed; else, or for another address, there
is --target. Checks that may contain a secret, which are check commands and URLs with a
password or a query, are not kept: they come from the flake, or are named again.

Without ID it is the only one that has not ended, or NAME's last one; several are
listed. The exit code is that of the deployment.`,
		Example: `  ferry attach web
  ferry attach 20261122T024710-12b4f3 --host root@server`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := attachRequest(cmd, args)
			if err != nil {
				return err
			}
			if o.target != "" {
				address, err := option.TargetAddress(o.target)
				if err != nil {
					return err
				}
				req.Target = &address
			}
			req.TargetSudo, req.TakeOver, req.Settle = o.targetSudo, o.takeOver, o.settle
			req.Confirm = o.confirm.Confirm()
			req.Source = flake.Source{Ref: o.place.Flake, Options: o.place.Nix.Words}
			return attach(cmd.Context(), a, req, &o)
		},
	}
	o.place.AddFlags(cmd)
	option.AddSettleFlag(cmd, &o.settle)
	cmd.Flags().StringVar(&o.target, "target", "", "the address of the system inside")
	cmd.Flags().BoolVar(&o.targetSudo, "target-sudo", false, "become root in the guest with sudo")
	o.confirm.AddSecretFlags(cmd.Flags())
	cmd.Flags().BoolVar(&o.takeOver, "take-over", false, "end the ferry that still holds the deployment, such as one behind a frozen connection")
	return cmd
}

// deploymentID is what deployments are called.
var deploymentID = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}-[0-9a-z]{1,32}$`)

func attachRequest(cmd *cobra.Command, args []string) (req request.Attach, err error) {
	for _, word := range args {
		switch {
		case deploymentID.MatchString(word) && req.ID == "":
			req.ID = word
		case req.Name == "" && req.ID == "":
			if req.Name, err = microvm.ParseName(word); err != nil {
				return req, &cmdline.UsageError{Err: err, Next: "usage: " + cmd.UseLine()}
			}
		default:
			return req, &cmdline.UsageError{Err: errors.New(strconv.Quote(word) + " is not a deployment's id"), Next: "an id looks like 20261122T024710-12b4f3; ferry history NAME lists them"}
		}
	}
	return req, nil
}

// attach asks the host that is named, or the VM's, or all of the flake.
func attach(ctx context.Context, a *console.Console, req request.Attach, o *attachOptions) error {
	return a.WithManager(ctx, &o.place, func(m *manage.Manager) error {
		places, err := o.places(ctx, m, req.Name)
		if err != nil {
			return err
		}
		evalNix := &nix.Nix{Program: "nix", Log: a.UI.Log("nix")}
		d := &deploy.Deployer{
			Report: a.UI, Nix: evalNix, Evaluator: &flake.Evaluator{Nix: evalNix, CacheDir: flake.DefaultCacheDir()},
			SocketDir: m.SocketDir, AskPassword: m.AskPassword, Memory: console.Memory(),
		}
		var nowhere *deploy.NoDeploymentError
		for i, place := range places {
			req.Host, req.HostSudo = place.Address, place.Sudo
			result, err := d.Attach(ctx, req)
			if errors.As(err, &nowhere) && i < len(places)-1 {
				continue
			}
			return a.ShowResult(result, err)
		}
		return nil
	})
}

func (o *attachOptions) places(ctx context.Context, m *manage.Manager, vm microvm.Name) ([]manage.Place, error) {
	if o.place.Host != "" || vm != "" {
		place, err := m.PlaceOf(ctx, vm, o.place.Host, o.place.HostSudo)
		return []manage.Place{place}, err
	}
	fleet, err := m.Fleet(ctx)
	if err != nil {
		return nil, err
	}
	var places []manage.Place
	for _, name := range slices.Sorted(maps.Keys(fleet.Hosts)) {
		h := fleet.Hosts[name]
		places = append(places, manage.Place{Name: name, Address: h.Address, Sudo: h.Sudo || o.place.HostSudo})
	}
	if len(places) == 0 {
		return nil, &request.UsageError{Message: "the host is not known", Next: "name it: --host root@server"}
	}
	return places, nil
}
