package deploy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"ferry/internal/flake"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
	"ferry/internal/hostclient"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
	"ferry/internal/ui"
)

// Reporter is told how a deployment goes.
type Reporter interface {
	Step(subject, format string, args ...any)
	Detail(subject, format string, args ...any)
	Warn(format string, args ...any)
	Log(subject string) io.WriteCloser
}

// Evaluator yields a VM's record.
type Evaluator interface {
	Evaluate(ctx context.Context, src flake.Source, name microvm.Name) (*flake.Evaluation, error)
	// Archive and Fleet are for an evaluation on the host.
	Archive(ctx context.Context, src flake.Source, name microvm.Name) (*flake.Archive, error)
	Fleet(ctx context.Context, src flake.Source) (flake.Fleet, []string, error)
}

// Deployer has what all deployments of a run share.
type Deployer struct {
	Report      Reporter
	Evaluator   Evaluator
	Nix         *nix.Nix // the operator's
	SocketDir   string
	AskPassword func(prompt string) (string, error)
	// Memory is for attaching to a deployment later; nil: nothing is kept.
	Memory Memory

	// For tests; nil: remote.Dial and hostclient.Open.
	dial func(context.Context, remote.Options) (remote.Conn, error)
	open func(remote.Conn, func(source, line string)) *hostclient.Session
}

func (d *Deployer) connect(ctx context.Context, o remote.Options) (remote.Conn, error) {
	if d.dial != nil {
		return d.dial(ctx, o)
	}
	return remote.Dial(ctx, o)
}

// Request is what the user wants for one VM.
type Request struct {
	Attribute microvm.Name // nixosConfigurations.ATTRIBUTE
	// Name is the VM's name on the host; empty: the attribute.
	Name   microvm.Name
	Source flake.Source
	// Host and Target win over the flake's addresses; nil: those of the flake.
	Host, Target         *microvm.Address
	HostSudo, TargetSudo bool
	Action               hostapi.Action
	Restart              hostapi.RestartPolicy // empty: the flake's, else auto
	UpdateFlake          string                // empty: the flake's
	DryRun               bool
	Confirm              Confirm
	Wait                 time.Duration // for the VM's lock; 0: not
	Building             Building
}

// deployment is one run for one VM.
type deployment struct {
	*Deployer
	req    Request
	id     string
	began  time.Time
	record microvm.Record
	eval   *flake.Evaluation
	intent hostapi.Intent
	// archive is the flake where the host evaluates it; else nil.
	archive *flake.Archive

	host    remote.Conn
	session *hostclient.Session
	facts   hostapi.Facts
	plan    hostapi.Plan
	builder remote.Conn // nil: none
	guest   *guestSide
	before  unitsBefore
	back    *goBack   // nil: neither a rollback nor an update
	up      *updating // nil: no update
	// attached: another process began it; else nil. kept: this machine remembers
	// it.
	attached *attached
	kept     bool
	// lent is a connection to the host that stays open; borrowed: host is that one.
	lent     remote.Conn
	borrowed bool

	result   Result
	prepared bool
	// undone: what had been changed was put back. ended: the host has closed the
	// deployment already.
	undone, ended bool
	// state tells the user how things are when a step fails.
	state string
}

// tellTimeout is for the host to write down how a deployment ended.
const tellTimeout = 20 * time.Second

const nothingChanged = "nothing was changed"

// Rebuild evaluates, builds on the host, installs, and activates as the request
// says. The result tells what was done also when the error is not nil.
func (d *Deployer) Rebuild(ctx context.Context, req Request) (*Result, error) {
	return d.deploy(ctx, req, (*deployment).rebuild)
}

// Switch brings the running guest to a system that its host has built already.
func (d *Deployer) Switch(ctx context.Context, req Request) (*Result, error) {
	return d.deploy(ctx, req, (*deployment).switchOnly)
}

func (d *Deployer) deploy(ctx context.Context, req Request, steps func(*deployment, context.Context) error) (*Result, error) {
	run := d.begin(req)
	defer run.close()
	err := run.evaluate(ctx)
	if err == nil {
		err = steps(run, ctx)
	}
	return run.end(ctx, err)
}

func (d *Deployer) begin(req Request) *deployment {
	if req.Name == "" {
		req.Name = req.Attribute
	}
	run := &deployment{Deployer: d, req: req, id: newID(), began: time.Now().UTC(), state: nothingChanged}
	run.result = Result{VM: req.Name, Deployment: run.id, Action: req.Action}
	return run
}

func (d *deployment) end(ctx context.Context, err error) (*Result, error) {
	d.result.Seconds = time.Since(d.began).Seconds()
	over := true
	if err != nil {
		over, err = d.failed(ctx, err)
	}
	if over {
		d.forget()
	}
	return &d.result, err
}

// failed ends a deployment whose step went wrong: the host writes it down, and
// the user learns how things are. over: the host has closed it.
func (d *deployment) failed(ctx context.Context, err error) (over bool, _ error) {
	var failure *hostapi.Failure
	if errors.As(err, &failure) && failure.State != "" { // the host has dealt with it
		d.state, d.undone, d.ended = failure.State, failure.RolledBack, true
	}
	d.result.Outcome = OutcomeFailed
	if d.undone {
		d.result.Outcome = OutcomeRolledBack
	}
	if ctx.Err() != nil {
		err = remote.Interrupted(ctx, "")
	}
	over = d.ended && d.session != nil && !d.session.Closed()
	if d.prepared && !d.ended && !d.session.Closed() && !d.guest.unsure() && (d.undone || ctx.Err() == nil) {
		finish := hostapi.FinishRequest{Name: d.req.Name, Outcome: string(d.result.Outcome), Error: d.forHost(err)}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTimeout)
		defer cancel()
		ferr := d.session.Call(ctx, hostapi.Request{Finish: &finish}, nil)
		over = ferr == nil
		if ferr != nil {
			d.Report.Detail(d.subject(), "the failure could not be written to the history: %v", ferr)
		}
	}
	d.result.Error, d.result.State = err.Error(), d.state
	return over, &Error{VM: d.req.Name, State: d.state, Err: err, RolledBack: d.undone}
}

func (d *deployment) close() {
	d.guest.close()
	d.closeHost()
}

func (d *deployment) closeHost() {
	if d.builder != nil {
		_ = d.builder.Close()
	}
	if d.session != nil {
		if err := d.session.Close(); err != nil {
			d.Report.Detail(d.subject(), "ending the session on the host: %v", err)
		}
	}
	if d.host != nil && !d.borrowed {
		_ = d.host.Close()
	}
}

func (d *deployment) subject() string { return string(d.req.Name) }

func (d *deployment) step(format string, args ...any) { d.Report.Step(d.subject(), format, args...) }

// evaluate gets the record and fills in what the flake's `ferry` output says.
func (d *deployment) evaluate(ctx context.Context) error {
	if d.req.Building.EvalOnHost && !d.req.DryRun { // a dry run leaves nothing on the host
		return d.collect(ctx)
	}
	ev, err := d.Evaluator.Evaluate(ctx, d.req.Source, d.req.Attribute)
	if err != nil {
		return err
	}
	for _, w := range ev.Warnings {
		d.Report.Warn("%s", w)
	}
	d.take(ev)
	if ev.Cached {
		d.Report.Detail(d.subject(), "evaluation: from the cache")
	} else {
		d.step("evaluated %s", d.record.Runner.Drv)
	}
	d.fromFleet(ev.Fleet)
	d.intend()
	return nil
}

func (d *deployment) take(ev *flake.Evaluation) {
	d.eval, d.record = ev, ev.Record
	d.record.Name = d.req.Name
	d.result.System = systemOut(&d.record)
}

func (d *deployment) intend() {
	if place := d.place(); !place.OnHost() {
		d.result.BuildOn = place.String()
	}
	d.intent = hostapi.Intent{
		Action: d.req.Action, Restart: d.req.Restart,
		TargetKnown: d.req.Target != nil, UpdateFlake: d.req.UpdateFlake,
	}
}

func (d *deployment) needHost() error {
	if d.req.Host != nil {
		return nil
	}
	return &UsageError{
		Message: fmt.Sprintf("the host of %s is not known", d.req.Attribute),
		Next:    fmt.Sprintf("name it (ferry rebuild %s root@host) or set ferry.vms.%s.host and ferry.hosts in the flake", d.req.Attribute, d.req.Attribute),
	}
}

// connectHost logs in and asks for facts, in one session.
func (d *deployment) connectHost(ctx context.Context) error {
	if err := d.needHost(); err != nil {
		return err
	}
	if err := d.openHost(ctx); err != nil {
		return err
	}
	return d.probe(ctx)
}

// probe asks the host for facts and a first plan, which takes into account what
// the guest says, once it was asked.
func (d *deployment) probe(ctx context.Context) error {
	probe := hostapi.ProbeRequest{Name: d.req.Name, Record: &d.record, GuestSystem: d.guest.current(), Intent: d.intent}
	if err := d.askFacts(ctx, probe); err != nil {
		return err
	}
	if d.facts.Plan != nil {
		d.plan = *d.facts.Plan
	}
	d.result.Previous = d.facts.VM.Current
	return nil
}

// askFacts probes, and makes sure that the two sides understand each other.
func (d *deployment) askFacts(ctx context.Context, probe hostapi.ProbeRequest) error {
	d.facts = hostapi.Facts{}
	if err := d.session.Call(ctx, hostapi.Request{Probe: &probe}, &d.facts); err != nil {
		return err
	}
	return sameProtocol(d.session.Address(), d.facts.Protocol)
}

// sameProtocol refuses a helper that may misunderstand us.
func sameProtocol(where string, theirs int) error {
	older, newer := "the ferry on "+where, "this one"
	switch {
	case theirs == hostapi.ProtocolVersion:
		return nil
	case theirs > hostapi.ProtocolVersion:
		older, newer = newer, older
	}
	return &RefusedError{
		Message: fmt.Sprintf("%s is older than %s, and the two may misunderstand each other (protocol %d on the host, %d here)", older, newer, theirs, hostapi.ProtocolVersion),
		Next:    "use the same release of ferry on both sides: update " + older,
	}
}

// openHost logs in and starts the helper.
func (d *deployment) openHost(ctx context.Context) error {
	d.result.Host = d.req.Host.String()
	var err error
	if d.host, d.borrowed, d.lent = d.lent, d.lent != nil, nil; !d.borrowed {
		d.host, err = d.connect(ctx, remote.Options{
			Address: *d.req.Host, Sudo: d.req.HostSudo, Dir: d.SocketDir, AskPassword: d.AskPassword,
		})
	}
	if err != nil {
		return err
	}
	if d.open != nil {
		d.session = d.open(d.host, d.hostLog)
		return nil
	}
	var uploaded bool
	d.session, uploaded, err = hostclient.Open(ctx, d.host, hostclient.Options{NoTrace: d.req.DryRun, Log: d.hostLog})
	if err != nil {
		return err
	}
	if uploaded {
		d.step("uploaded ferry's helper to %s", d.req.Host)
	}
	return nil
}

func (d *deployment) hostLog(source, line string) {
	if source == "nix" {
		fmt.Fprintln(d.Report.Log(d.subject()), line)
		return
	}
	d.step("%s", line)
}

// prepare takes the VM's lock and has what will be copied rooted.
func (d *deployment) prepare(ctx context.Context) error {
	req := hostapi.PrepareRequest{
		Name: d.req.Name, GuestSystem: d.guest.current(), WaitSeconds: int(d.req.Wait.Seconds()),
		Deployment: hostapi.Deployment{ID: d.id, By: Operator(), Started: d.began, Action: d.req.Action},
	}
	if d.req.Target != nil {
		req.Deployment.Target, req.Deployment.TargetSudo = d.req.Target.String(), d.req.TargetSudo
	}
	if d.up != nil {
		req.Deployment.Flake, req.Deployment.Build = ui.Redact(d.up.found.Flake), ui.Redact(d.up.found.Build)
	}
	if d.back != nil && d.eval == nil {
		req.Runner, req.Deployment.RollbackTo = d.back.to.Runner, d.back.to.Number
	} else {
		req.Runner, req.Derivations = d.record.Runner.Out, d.toShip()
		req.Deployment.Flake, req.Deployment.Revision = ui.Redact(d.eval.URL), d.eval.Revision
	}
	var p hostapi.Prepared
	if err := d.session.Call(ctx, hostapi.Request{Prepare: &req}, &p); err != nil {
		return err
	}
	d.prepared = true
	d.Report.Detail(d.subject(), "the host has Nix %s", p.NixVersion)
	if p.Waited && d.archive == nil {
		return d.seeAnew(ctx)
	}
	return nil
}

func newID() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails, as documented
	return time.Now().UTC().Format("20060102T150405") + "-" + hex.EncodeToString(b[:])
}

// Operator names who deploys, for the lock and the history: user@machine.
func Operator() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	return strings.ToValidUTF8(name+"@"+machine, "?")
}

func systemOut(r *microvm.Record) microvm.StorePath {
	if r.System == nil {
		return ""
	}
	return r.System.Out
}

var errNoSystem = errors.New("the configuration has no config.system.build.toplevel to switch to")

// guestSwitch is the switch in the guest that this deployment makes.
func (d *deployment) guestSwitch() guest.Switch {
	return guest.Switch{
		ID: d.id, System: d.plan.System, Action: string(d.req.Action),
		HostName: d.plan.HostName, RegInfo: d.plan.RegInfo,
	}
}
