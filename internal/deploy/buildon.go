package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
)

// Building says where a VM is evaluated and built.
type Building struct {
	On *microvm.BuildPlace // nil: where the flake says, else on the host
	// NoSubstitute sends the host all that was built elsewhere. Otherwise it
	// fetches from its own caches what they have.
	NoSubstitute bool
	// EvalOnHost: the host evaluates and builds, from a copy of the flake.
	EvalOnHost bool
}

// place is where this deployment builds.
func (d *deployment) place() microvm.BuildPlace {
	if d.req.Building.On == nil {
		return microvm.BuildPlace{}
	}
	return *d.req.Building.On
}

// checkPlace finds out whether what is built elsewhere could be used at all,
// before anything is built or copied.
func (d *deployment) checkPlace(ctx context.Context) error {
	place := d.place()
	if d.facts.Built || d.req.DryRun {
		return nil
	}
	d.warnIgnored(ctx)
	if place.OnHost() {
		return nil
	}
	if b := place.Builder; b != nil && !d.req.Host.Local && b.Host == d.req.Host.Host {
		return &UsageError{Message: fmt.Sprintf("the builder %s is the host itself", place), Next: "build there with --build-on host"}
	}
	if err := d.checkTrust(ctx); err != nil {
		return err
	}
	if place.Builder == nil {
		return nil
	}
	var err error
	d.builder, err = remote.Dial(ctx, remote.Options{Address: *place.Builder, Dir: d.SocketDir, AskPassword: d.AskPassword})
	if err != nil {
		return fmt.Errorf("the builder: %w", err)
	}
	target := d.builder.NixCopy()
	if _, err := d.Nix.Store(ctx, target.Store, target.Env); err != nil {
		return fmt.Errorf("asking Nix on the builder %s: %w", place.Builder, err)
	}
	return nil
}

// checkTrust refuses a host whose Nix would refuse what was built elsewhere:
// that is signed by nobody.
func (d *deployment) checkTrust(ctx context.Context) error {
	target := d.host.NixCopy()
	if d.host.SudoPassword() || (target.Store == "" && d.place().Local) {
		return nil // the helper takes it in as root; it is built in place
	}
	info, err := d.Nix.Store(ctx, target.Store, target.Env)
	if err != nil {
		return fmt.Errorf("asking Nix on %s whether it takes what was built elsewhere: %w", d.req.Host, err)
	}
	if info.Trusted {
		return nil
	}
	return &RefusedError{
		Message: fmt.Sprintf("Nix on %s does not trust the user who logs in there, and takes nothing from such a user that was built elsewhere and is not signed", d.req.Host),
		Next: "log in as root or let ferry use sudo (--host-sudo), or name that user in trusted-users in the host's nix.conf; " +
			"where the host gets it from a cache whose key is in its trusted-public-keys, or with --build-on host, no trust is needed",
	}
}

// warnIgnored tells of settings that the user gave for a build and that Nix
// would ignore in silence.
func (d *deployment) warnIgnored(ctx context.Context) {
	given := restrictedOptions(d.req.Source.Options)
	if len(given) == 0 {
		return
	}
	names := strings.Join(given, ", ")
	if !d.place().Local {
		d.Report.Warn("%s: only the evaluation here gets to see it; %s builds with the settings of its own nix.conf", names, d.where())
		return
	}
	if info, err := d.Nix.Store(ctx, "", nil); err == nil && !info.Trusted {
		d.Report.Warn("%s: Nix on this machine ignores it, since you are not one of its trusted-users; set it in nix.conf as root instead", names)
	}
}

// restrictedOptions are those of the options that only a trusted user may set
// (Nix manual, nix.conf: trusted-users).
func restrictedOptions(options []string) []string {
	restricted := []string{"substituters", "trusted-substituters", "trusted-public-keys", "require-sigs", "builders", "sandbox", "post-build-hook"}
	var given []string
	for i, o := range options {
		if o == "--option" && i+1 < len(options) && slices.Contains(restricted, strings.TrimPrefix(options[i+1], "extra-")) {
			given = append(given, "--option "+options[i+1])
		}
	}
	return given
}

// where names the place for messages.
func (d *deployment) where() string {
	switch place := d.place(); {
	case place.Local:
		return "this machine"
	case place.Builder != nil:
		return place.Builder.String()
	}
	return d.req.Host.String()
}

// buildElsewhere builds on this machine or on a builder, copies what was built
// to the host and has it taken in there.
func (d *deployment) buildElsewhere(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "ferry-build-")
	if err != nil {
		return fmt.Errorf("making a directory for the build's result: %w", err)
	}
	defer os.RemoveAll(dir)
	for shipment := 1; ; shipment++ {
		d.step("building on %s", d.where())
		out, err := d.buildAt(ctx, filepath.Join(dir, "result"))
		if err != nil {
			return err
		}
		if err := d.push(ctx, out); err != nil {
			return err
		}
		var built hostapi.Built
		req := hostapi.BuildRequest{Name: d.req.Name, Built: out}
		err = d.session.Call(ctx, hostapi.Request{Build: &req}, &built)
		if err == nil {
			d.plan.Runner = built.Runner
			return nil
		}
		if shipment == maxShipments || ctx.Err() != nil || !d.lacks(ctx, out) {
			return err
		}
		d.step("a garbage collection on %s took what was copied", d.req.Host)
	}
}

// buildAt builds here, where link keeps the result until it is copied, or on the
// builder, and returns the runner.
func (d *deployment) buildAt(ctx context.Context, link string) (microvm.StorePath, error) {
	n := *d.Nix
	log := d.Report.Log(d.subject())
	defer log.Close()
	n.Log = log
	req := nix.BuildRequest{Derivations: []microvm.StorePath{d.record.Runner.Drv}, Link: link, Options: buildOptions(d.req.Source.Options)}
	if d.builder != nil {
		target := d.builder.NixCopy()
		req.Link, req.Store, req.Env = "", target.Store, target.Env
	}
	outs, err := n.BuildIn(ctx, req)
	if err != nil {
		return "", d.buildFailure(err)
	}
	if want := d.record.Runner.Out; want != "" && outs[0] != want {
		return "", fmt.Errorf("the build made %s instead of the evaluated runner %s", outs[0], want)
	}
	return outs[0], nil
}

// buildFailure says it as a host does of its own builds.
func (d *deployment) buildFailure(err error) error {
	var be *nix.BuildError
	if !errors.As(err, &be) {
		return fmt.Errorf("building on %s: %w", d.where(), err)
	}
	f := &hostapi.Failure{Kind: hostapi.KindBuild, Message: fmt.Sprintf("building %s on %s failed: %s", be.Derivation, d.where(), be.Message), Log: be.LogTail}
	if d.builder == nil {
		f.Hint = "the whole log: nix log " + string(be.Derivation)
	}
	return f
}

// buildOptions are those of the user's options that mean something to a build.
func buildOptions(options []string) []string {
	var mine []string
	for i := 0; i < len(options); i++ {
		values := 0
		switch options[i] {
		case "--option":
			values = 2
		case "--extra-experimental-features", "--netrc-file":
			values = 1
		case "--offline":
		default:
			continue
		}
		end := min(i+values+1, len(options))
		mine = append(mine, options[i:end]...)
		i = end - 1
	}
	return mine
}

// push copies what was built to the host. What the host can't have from its own
// caches is sent, from a builder by way of this machine.
func (d *deployment) push(ctx context.Context, out microvm.StorePath) error {
	n := *d.Nix
	n.Log = detailWriter{d}
	to := d.host.NixCopy()
	req := nix.PathsRequest{To: to.Store, Env: to.Env, Paths: []microvm.StorePath{out}, Substitute: !d.req.Building.NoSubstitute}
	if d.builder != nil {
		req.From = d.builder.NixCopy().Store
	}
	switch {
	case req.From == "" && req.To == "":
		return nil // built in place
	case d.host.SudoPassword():
		return d.pushThroughHelper(ctx, req)
	}
	d.step("copying %s to %s", out, d.req.Host)
	if d.builder != nil {
		env, remove, err := remote.Pair(d.builder, d.host)
		if err != nil {
			return err
		}
		defer remove()
		req.Env = env
	}
	if req.To == "" {
		req.Substitute = false // it is for remote destinations
	}
	if err := n.CopyPaths(ctx, req); err != nil {
		return fmt.Errorf("copying what was built to %s: %w", d.req.Host, err)
	}
	return nil
}

// pushThroughHelper is for a host where sudo wants a password: what a builder
// has comes into this machine's store first.
func (d *deployment) pushThroughHelper(ctx context.Context, req nix.PathsRequest) error {
	if d.builder != nil {
		d.step("copying %s from %s", req.Paths[0], d.where())
		from := d.builder.NixCopy()
		err := d.Nix.CopyPaths(ctx, nix.PathsRequest{From: from.Store, Env: from.Env, Paths: req.Paths})
		if err != nil {
			return fmt.Errorf("copying what was built from %s: %w", d.where(), err)
		}
	}
	return d.stream(ctx, req.Paths, req.Substitute)
}

// lacks reports whether the host's store lacks one of the paths.
func (d *deployment) lacks(ctx context.Context, paths ...microvm.StorePath) bool {
	var missing []microvm.StorePath
	err := d.session.Call(ctx, hostapi.Request{Missing: &hostapi.MissingRequest{Paths: paths}}, &missing)
	return err == nil && len(missing) > 0
}
