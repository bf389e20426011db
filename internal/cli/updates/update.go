package updates

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ferry/internal/cli/console"
	"ferry/internal/cli/option"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/deploy/request"
	"ferry/internal/fetch"
	"ferry/internal/flake"
	"ferry/internal/health"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/ui"
	"ferry/internal/update"
)

// updateOptions are those of `ferry update`.
type updateOptions struct {
	place      option.Place
	hosts      []string
	all        bool
	source     sourceOptions
	cache      string
	relay      string
	stall      time.Duration
	limit      time.Duration
	target     string
	targetSudo bool
	// targetOf is of a timer's settings; nil: they say nothing.
	targetOf   func(microvm.Name) (*microvm.Address, bool)
	restart    string
	dryRun     bool
	wait       time.Duration
	settle     hostapi.SettleChoice
	confirm    option.Confirm
	allowOlder bool
	noGuest    bool
	unattended bool // run by a timer
}

// sourceOptions say where updates come from.
type sourceOptions struct {
	hydra, from   string
	fromFlake     bool
	anyFlake      bool
	allowRedirect []string
	allowHTTP     bool
	netrc         string
}

// Command is `ferry update`.
func Command(a *console.Console) *cobra.Command {
	var o updateOptions
	cmd := &cobra.Command{
		Use:   "update [NAME…]",
		Short: "Bring VMs to what CI has built, or to what their `flake` files yield",
		Long: `Finds the newest runner of each VM, brings it to the VM's host, and activates it as
ferry rebuild does, with the same undo. Nothing is evaluated, here or there.

--hydra takes the newest successful build of a jobset, for VMs whose ` + "`flake`" + ` file
names the flake that the jobset builds; others are skipped. --from takes a URL or
a file that holds {"VM": "/nix/store/…"} or one store path. --from-flake builds what
the VMs' ` + "`flake`" + ` files name; that works on the host itself (--host local).

The host downloads what it lacks from --cache, or else from its own substituters.
Signatures are always checked, by the keys that the host trusts. Where the host
can't reach the cache, this machine copies from it, and checks as well (--relay).

A VM that can't be switched live, or whose system can't be logged in to, is
restarted unless --restart=never: then it is installed only. An address that only
the host has recorded is used once you have confirmed it on the terminal, and with
--host local; without a terminal, --target or the flake must name it.

Sources are asked over https unless --allow-http says otherwise. A build of Hydra
that is older than the installed one of the same job needs --allow-older.` + option.ConfirmHelp,
		Example: `  ferry update web --hydra https://hydra.example.org/jobset/infra/main --cache https://cache.example.org
  ferry update --all --host root@server --hydra https://hydra.example.org/job/infra/main/vm-{vm}
  ferry update --all --host local --from-flake --restart never
  ferry update web --from ./built.json --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := o.names(cmd.UseLine(), args)
			if err != nil {
				return err
			}
			return runUpdate(cmd.Context(), a, &o, names)
		},
	}
	o.place.AddFlakeFlags(cmd)
	cmdline.AddWaitFlag(cmd, &o.wait)
	option.AddSettleFlag(cmd, &o.settle)
	fs := cmd.Flags()
	fs.StringArrayVar(&o.hosts, "host", nil, "a host: an address, a name of ferry.hosts, or local (repeatable with --all; default: the flake's)")
	fs.BoolVar(&o.all, "all", false, "all VMs of the hosts")
	o.source.addFlags(cmd)
	addAllowOlder(fs, &o.allowOlder)
	fs.StringVar(&o.cache, "cache", "", "the binary cache that has the builds (default: the host's own substituters)")
	fs.StringVar(&o.relay, "relay", string(request.RelayAuto), "copy through this machine: auto (where the host can't reach the cache), always, never")
	most := health.MaxTimeout
	fs.Var(&cmdline.Duration{To: &o.stall, Most: most}, "stall-timeout", "how long a download may stall (default: 1m)")
	fs.Var(&cmdline.Duration{To: &o.limit, Most: most}, "fetch-limit", "how long the download for a VM may take (default: 6h)")
	o.confirm.AddFlags(fs)
	fs.StringVar(&o.target, "target", "", "the address of the system inside, for one VM (default: the flake's, else what the host has recorded, if you confirm it)")
	fs.BoolVar(&o.targetSudo, "target-sudo", false, "become root in the guest with sudo")
	option.AddNoGuestFlag(fs, &o.noGuest)
	fs.BoolVar(&o.dryRun, "dry-run", false, "say what would happen and change nothing")
	fs.StringVar(&o.restart, "restart", "", "when to restart a VM: auto (only where it can't be switched live), if-needed (also where the hardware differs), always, never")
	return cmd
}

func (o *sourceOptions) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.hydra, "hydra", "", "a jobset or job of Hydra: https://HYDRA/jobset/PROJECT/JOBSET or https://HYDRA/job/PROJECT/JOBSET/{vm}")
	fs.StringVar(&o.from, "from", "", "a URL or file with the store paths of the runners")
	fs.BoolVar(&o.fromFlake, "from-flake", false, "build what the VMs' flake files name, on the host itself")
	fs.BoolVar(&o.anyFlake, "any-flake", false, "with --hydra: whatever the VMs' flake files say")
	fs.StringArrayVar(&o.allowRedirect, "allow-redirect", nil, "another origin that answers may come from, such as https://cdn.example.org (repeatable)")
	fs.BoolVar(&o.allowHTTP, "allow-http", false, "ask --hydra or --from over http, too, where anybody on the way can change the answer")
	fs.StringVar(&o.netrc, "netrc", "", "a netrc file with the credentials for --hydra or --from")
}

func addAllowOlder(fs *pflag.FlagSet, to *bool) {
	fs.BoolVar(to, "allow-older", false, "with --hydra: also a build that is older than the installed one of the same job")
}

// check refuses options that can't be meant.
func (o *sourceOptions) check() error {
	n := 0
	for _, given := range []bool{o.hydra != "", o.from != "", o.fromFlake} {
		if given {
			n++
		}
	}
	if n != 1 {
		return &cmdline.UsageError{Err: errors.New("one source is needed, and one only: --hydra, --from or --from-flake"), Next: "for example --hydra https://hydra.example.org/jobset/PROJECT/JOBSET"}
	}
	if o.anyFlake && o.hydra == "" {
		return &cmdline.UsageError{Err: errors.New("--any-flake works only with --hydra"), Next: "leave it out"}
	}
	_, err := o.open(nil)
	return err
}

// open is the source; nil for the VMs' `flake` files.
func (o *sourceOptions) open(report deploy.Reporter) (update.Source, error) {
	if o.fromFlake {
		return nil, nil
	}
	client := &fetch.Client{AllowHTTP: o.allowHTTP}
	for _, s := range o.allowRedirect {
		origin, err := fetch.ParseOrigin(s)
		if err != nil {
			return nil, &cmdline.UsageError{Err: fmt.Errorf("--allow-redirect: %w", err), Next: "an origin is such as https://cdn.example.org"}
		}
		client.AllowRedirect = append(client.AllowRedirect, origin)
	}
	if report != nil {
		client.Retrying = func(err error, wait time.Duration) {
			report.Detail("update", "%v; again in %s", err, wait.Round(time.Millisecond))
		}
	}
	if o.netrc != "" && report != nil {
		var err error
		if client.Netrc, err = fetch.ReadNetrc(o.netrc); err != nil {
			return nil, err
		}
	}
	var s update.Source
	var err error
	if o.hydra != "" {
		s, err = update.NewHydra(o.hydra, update.HydraOptions{Client: client, AnyFlake: o.anyFlake})
	} else {
		s, err = update.NewFile(o.from, client)
	}
	if err != nil {
		return nil, &cmdline.UsageError{Err: err, Next: hintOf(err, "see ferry update --help")}
	}
	return update.Once(s), nil
}

func hintOf(err error, otherwise string) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return h.Hint()
	}
	return otherwise
}

// names checks the options and reads the VMs' names; none with --all.
func (o *updateOptions) names(usage string, args []string) ([]microvm.Name, error) {
	wrong := func(hint, format string, a ...any) ([]microvm.Name, error) {
		return nil, &cmdline.UsageError{Err: fmt.Errorf(format, a...), Next: hint}
	}
	var names []microvm.Name
	for _, arg := range args {
		n, err := microvm.ParseName(arg)
		if err != nil {
			return wrong("usage: "+usage, "%w", err)
		}
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	switch {
	case o.all == (len(names) > 0):
		return wrong("usage: "+usage, "update needs the names of VMs, or --all")
	case !o.all && len(o.hosts) > 1:
		return wrong("leave --host out where the flake says which VM is where", "VMs that are named have one --host")
	case o.target != "" && len(names) != 1:
		return wrong("the flake's ferry.vms.NAME.target serves more", "--target is for one VM")
	case o.restart != "" && !slices.Contains(option.RestartPolicies(), o.restart):
		return wrong("one of "+strings.Join(option.RestartPolicies(), ", "), "unknown --restart=%.40q", o.restart)
	case !slices.Contains([]request.Relay{request.RelayAuto, request.RelayAlways, request.RelayNever}, request.Relay(o.relay)):
		return wrong("one of auto, always, never", "unknown --relay=%.40q", o.relay)
	case o.relay == string(request.RelayAlways) && o.cache == "":
		return wrong("name the cache that this machine is to copy from", "--relay=always needs --cache")
	case o.source.fromFlake && o.cache != "":
		return wrong("leave one of them out", "--cache is for builds of others, --from-flake builds itself")
	}
	if o.cache != "" {
		if err := checkCache(o.cache); err != nil {
			return wrong("for example --cache https://cache.example.org", "--cache: %w", err)
		}
	}
	if _, err := o.request(""); err != nil {
		return nil, err
	}
	return names, o.source.check()
}

// request is the update of one VM, but for its host.
func (o *updateOptions) request(n microvm.Name) (request.Update, error) {
	req := request.Update{
		Name: n, TargetSudo: o.targetSudo, AllVMs: o.all, Unattended: o.unattended, AllowOlder: o.allowOlder,
		Fetch:   request.Fetch{Cache: o.cache, Relay: request.Relay(o.relay), Stall: o.stall, Limit: o.limit},
		Restart: hostapi.RestartPolicy(o.restart), DryRun: o.dryRun, Confirm: o.confirm.Confirm(), Wait: o.wait,
		Settle: o.settle, NoGuest: o.noGuest,
	}
	if o.target != "" {
		address, err := option.TargetAddress(o.target)
		if err != nil {
			return req, err
		}
		req.Target = &address
	} else if o.targetOf != nil {
		target, sudo := o.targetOf(n)
		req.Target, req.TargetSudo = target, req.TargetSudo || sudo
	}
	return req, nil
}

// listedNames asks a host for its VMs; those that can't be updated are named.
func listedNames(ctx context.Context, u *ui.UI, h lister) ([]microvm.Name, error) {
	var names []microvm.Name
	err := h.List(ctx, hostapi.ListRequest{}, func(v hostapi.Listed) error {
		n, ok := v.VM()
		switch {
		case !ok:
			u.Step(v.Name, "left out: %s", strings.Join(v.Problems, "; "))
		case v.Declared:
			u.Step(v.Name, "left out: the host's own configuration declares it")
		default:
			names = append(names, n)
		}
		return nil
	})
	return names, err
}

// lister is a host that can be asked for its VMs.
type lister interface {
	List(ctx context.Context, req hostapi.ListRequest, each func(hostapi.Listed) error) error
}

func evaluators(u *ui.UI) (*nix.Nix, *flake.Evaluator) {
	n := &nix.Nix{Program: "nix", Log: u.Log("nix")}
	return n, &flake.Evaluator{Nix: n, CacheDir: flake.DefaultCacheDir()}
}
