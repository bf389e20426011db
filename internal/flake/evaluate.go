package flake

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"ferry/internal/microvm"
	"ferry/internal/nix"
)

//go:embed record.nix
var recordExpression string

// Evaluator evaluates flakes on this machine.
type Evaluator struct {
	Nix *nix.Nix
	// CacheDir holds the cache of evaluations (DefaultCacheDir); empty means
	// that every evaluation is done anew.
	CacheDir string
}

// Evaluation is what ferry knows of one VM before it looks at any other machine.
type Evaluation struct {
	Record   microvm.Record
	Fleet    Fleet
	Warnings []string // for the user
	Cached   bool     // the record was not evaluated now
	Given    *Given   // where it was evaluated before; nil: by ferry
	Revision string   // of the flake: COMMIT, COMMIT-dirty or empty
	URL      string   // of the flake, locked; of a Nix file, its path
}

// Evaluate returns the record of the VM and the flake's `ferry` output. The
// record's .drv files are in this machine's store; nothing keeps them there.
// Errors: *nix.VersionError, nix.ErrNoNix, *EvalError, *UnknownVMError,
// *NoRunnerError, *SchemaError, *GivenError, or one about the reference.
func (e *Evaluator) Evaluate(ctx context.Context, src Source, name microvm.Name) (*Evaluation, error) {
	if _, err := microvm.ParseName(string(name)); err != nil {
		return nil, err // it goes into a Nix expression
	}
	if src.Evaluation != "" {
		return given(src.Evaluation, name)
	}
	var evaluation Evaluation
	err := e.outputs(ctx, src, name, &evaluation, func(out outputs, from origin) ([]microvm.StorePath, error) {
		return evaluation.takeRecord(out, from, name)
	})
	if err != nil {
		return nil, err
	}
	return &evaluation, nil
}

// takeRecord takes one VM out of what was evaluated.
func (ev *Evaluation) takeRecord(out outputs, from origin, name microvm.Name) ([]microvm.StorePath, error) {
	vm, ok := out.VMs[string(name)]
	switch {
	case !ok:
		return nil, fmt.Errorf("evaluating %s: the result has no %s", from, name)
	case vm.Obstacle != "":
		return nil, &NoRunnerError{Ref: from.ref, File: from.file, Name: name, Reason: vm.Obstacle}
	case vm.Record == nil:
		return nil, &UnknownVMError{Ref: from.ref, File: from.file, Name: name, Existing: vm.Missing}
	}
	ev.Record = *vm.Record
	if vm.BrokenSystem {
		ev.Warnings = append(ev.Warnings, fmt.Sprintf(
			"config.system.build.toplevel of %s cannot be evaluated, though its runner can; ferry goes on without it", name))
	}
	return derivations(vm.Record)
}

// DecodeEvaluation reads what an Archive's expression yielded on another machine;
// ref is the flake for messages. The derivations are there, not here.
func DecodeEvaluation(data []byte, ref string, name microvm.Name) (*Evaluation, error) {
	var ev Evaluation
	_, err := ev.decode(data, origin{ref: ref}, func(out outputs, from origin) ([]microvm.StorePath, error) {
		return ev.takeRecord(out, from, name)
	})
	if err != nil {
		return nil, err
	}
	return &ev, nil
}

// decode reads record.nix's value. It returns the derivations that use names.
func (ev *Evaluation) decode(data []byte, from origin, use take) ([]microvm.StorePath, error) {
	ev.Warnings = nil
	var out outputs
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("evaluating %s: read the record: %w", from, err)
	}
	drvs, err := use(out, from)
	if err != nil {
		return nil, err
	}
	fleet, warnings, err := DecodeFleet(out.Ferry)
	if err != nil {
		return nil, err
	}
	ev.Fleet = fleet
	ev.Warnings = append(ev.Warnings, warnings...)
	return drvs, nil
}

// expressionFor is record.nix, for one VM (none if name is empty).
func expressionFor(name microvm.Name) string {
	return fmt.Sprintf("(%s) { names = [ %s ]; }", recordExpression, quotedName(name))
}

// Fleet returns the flake's `ferry` output alone, and warnings for the user. The
// errors are those of Evaluate, but for those about a VM.
func (e *Evaluator) Fleet(ctx context.Context, src Source) (Fleet, []string, error) {
	var evaluation Evaluation
	err := e.outputs(ctx, src, "", &evaluation, func(outputs, origin) ([]microvm.StorePath, error) { return nil, nil })
	return evaluation.Fleet, evaluation.Warnings, err
}

// outputs is what record.nix yields.
type outputs struct {
	VMs map[string]struct {
		Record       *microvm.Record `json:"record"`
		BrokenSystem bool            `json:"brokenSystem"`
		Obstacle     string          `json:"obstacle"` // why it is no MicroVM
		Missing      []string        `json:"missing"`  // the configurations there are
	} `json:"vms"`
	Ferry json.RawMessage `json:"ferry"`
}

// take uses the outputs and returns the derivations they rest on.
type take func(out outputs, from origin) ([]microvm.StorePath, error)

// outputs gets record.nix's value for the VM (none if name is empty), from the
// cache or from Nix, and fills evaluation with all but what take does.
func (e *Evaluator) outputs(ctx context.Context, src Source, name microvm.Name, evaluation *Evaluation, use take) error {
	if src.File != "" {
		return e.file(ctx, src, name, evaluation, use)
	}
	ref, err := src.checkedRef()
	if err != nil {
		return err
	}
	quiet := &onceWriter{to: e.Nix.Log}
	n := *e.Nix
	n.Log = quiet

	facts, err := e.look(ctx, &n, src, ref)
	if err != nil {
		return err
	}
	evaluation.Revision, evaluation.URL = facts.metadata.Revision(), facts.metadata.URL

	cache := evalCache{dir: e.CacheDir}
	key := facts.key(src.Options, name)
	eval := func(name microvm.Name) ([]byte, error) {
		data, err := n.Eval(ctx, nix.EvalRequest{
			Installable: ref + "#.", // the outputs themselves: `#ferry` would find packages.SYSTEM.ferry first
			Apply:       expressionFor(name),
			Options:     src.Options,
		})
		return data, readable(ref, sourceRoots(&facts.metadata), err)
	}
	data, withheld := cache.get(key)
	if data != nil && (name != "" || len(withheld) == 0) {
		if drvs, err := evaluation.decode(data, origin{ref: ref}, use); err == nil && allExist(drvs) {
			evaluation.Cached = true
			if !slices.Contains(withheld, string(name)) {
				return nil
			}
			// What the cache does not keep is the flake's `ferry` output alone.
			full, err := eval("")
			if err != nil {
				return err
			}
			return evaluation.takeFleet(full, ref)
		}
	}
	data, err = eval(name)
	if err != nil {
		return err
	}
	if _, err := evaluation.decode(data, origin{ref: ref}, use); err != nil {
		return err
	}
	if key != "" && e.unchanged(ctx, &n, src, ref, name, key) {
		cache.put(key, data)
	}
	return nil
}

// takeFleet takes the `ferry` output alone.
func (ev *Evaluation) takeFleet(data []byte, ref string) error {
	var out outputs
	if err := json.Unmarshal(data, &out); err != nil {
		return fmt.Errorf("evaluating flake %s: read the ferry output: %w", ref, err)
	}
	var err error
	ev.Fleet, _, err = DecodeFleet(out.Ferry)
	return err
}

// unchanged reports whether the key is still the same after the evaluation: a
// file saved in between would else give the old key a new result.
func (e *Evaluator) unchanged(ctx context.Context, n *nix.Nix, src Source, ref string, name microvm.Name, key string) bool {
	facts, err := e.look(ctx, n, src, ref)
	return err == nil && facts.key(src.Options, name) == key
}

// look asks Nix for everything but the evaluation, at the same time: each takes
// about 25 ms. Settings are only needed for the cache.
func (e *Evaluator) look(ctx context.Context, n *nix.Nix, src Source, ref string) (facts, error) {
	var f facts
	var versionErr, metadataErr error
	var group errgroup.Group
	group.Go(func() error {
		f.version, versionErr = n.Version(ctx)
		return nil
	})
	group.Go(func() error {
		f.metadata, metadataErr = n.FlakeMetadata(ctx, ref, src.Options)
		return nil
	})
	if e.CacheDir != "" {
		group.Go(func() error {
			f.settings, _ = n.Settings(ctx) // without them nothing is cached
			return nil
		})
	}
	_ = group.Wait()
	if versionErr != nil {
		return f, versionErr
	}
	if err := nix.CheckVersion(f.version, "this machine"); err != nil {
		return f, err
	}
	return f, readable(ref, nil, metadataErr)
}

// readable turns a failure of Nix into an *EvalError.
func readable(ref string, roots []string, err error) error {
	var failure *nix.EvalFailure
	if errors.As(err, &failure) {
		return newEvalError(ref, roots, failure)
	}
	return err
}

// quotedName is the name as a Nix string: its grammar has nothing to escape.
func quotedName(name microvm.Name) string {
	if name == "" {
		return ""
	}
	return `"` + string(name) + `"`
}

func derivations(r *microvm.Record) ([]microvm.StorePath, error) {
	drvs := []microvm.StorePath{r.Runner.Drv}
	if r.System != nil {
		drvs = append(drvs, r.System.Drv)
	}
	for _, d := range drvs {
		if !d.IsDerivation() {
			return nil, fmt.Errorf("evaluating %s: %.120q is not a derivation", r.Name, d)
		}
	}
	return drvs, nil
}
