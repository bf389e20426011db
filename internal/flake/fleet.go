package flake

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"ferry/internal/health"
	"ferry/internal/microvm"
)

// Fleet is the flake's `ferry` output: which hosts there are and which VM
// belongs where. The zero value is that of a flake without one.
type Fleet struct {
	Hosts map[string]Host
	VMs   map[microvm.Name]VM
}

// Host is one of ferry.hosts. A key is a name for the user, not an address.
type Host struct {
	Address microvm.Address
	Sudo    bool                // become root on it with sudo
	BuildOn *microvm.BuildPlace // nil: the flake says nothing
}

// VM is one of ferry.vms; every field may be empty.
type VM struct {
	Host        string           // a key of Fleet.Hosts
	Target      *microvm.Address // the system inside; never Local
	TargetSudo  bool
	Tags        []string            // not acted upon yet
	Restart     string              // auto, if-needed, always, never, or empty
	UpdateFlake string              // passed CheckUpdateRef
	BuildOn     *microvm.BuildPlace // wins over its host's; nil: that
	Health      *Health             // nil: the flake says nothing
}

// Health says when a VM is well. What is not set is empty.
type Health struct {
	health.Checks
	Command string        // a shell command that must succeed in the guest
	Timeout time.Duration // whole seconds
}

// HostOf returns the host that the fleet assigns to a VM; false when the fleet
// says nothing of it.
func (f *Fleet) HostOf(name microvm.Name) (Host, bool) {
	host, ok := f.Hosts[f.VMs[name].Host]
	return host, ok
}

// SchemaError is a `ferry` output that does not fit its schema.
type SchemaError struct {
	Path    string // ferry.vms.web.host
	Message string
	Source  Source // what it is of; neither a file nor an evaluation: a flake
}

func (e *SchemaError) Error() string {
	switch {
	case e.Source.Evaluation != "":
		return fmt.Sprintf("%s in the evaluation %s %s", e.Path, e.Source.Evaluation, e.Message)
	case e.Source.File != "":
		return fmt.Sprintf("%s in the value of %s %s", e.Path, e.Source.File, e.Message)
	}
	return fmt.Sprintf("the flake's output %s %s", e.Path, e.Message)
}

// Hint is what to do next.
func (e *SchemaError) Hint() string {
	switch {
	case e.Source.Evaluation != "":
		return "correct ferry.deploy.settings of the VM, or the `ferry` output of its flake, and evaluate again"
	case e.Source.File != "":
		return "correct `ferry` in the file"
	}
	return "correct the `ferry` output in flake.nix"
}

// schemaOf is the error with what the output is of.
func schemaOf(src Source, err error) error {
	var schema *SchemaError
	if errors.As(err, &schema) {
		schema.Source = src
	}
	return err
}

const maxHealthTimeout = int(health.MaxTimeout / time.Second)

// hostNamePattern is the grammar of VM names, with dots.
var hostNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// DecodeFleet reads the `ferry` output from JSON. It is strict: an unknown key, a
// wrong type or a bad value is a *SchemaError. null stands for "not set". The
// warnings name known keys that nothing acts on yet, once each.
func DecodeFleet(data []byte) (Fleet, []string, error) {
	d := decoder{}
	root, ok := d.parse(data)
	if !ok {
		return Fleet{}, nil, d.err
	}
	var f Fleet
	top := d.object(root, "hosts", "vms")
	d.each(top.get("hosts"), func(name string, v value) {
		if len(name) > microvm.MaxNameLength || !hostNamePattern.MatchString(name) {
			d.fail(v.path, "is not a valid name for a host: letters, digits, `.`, `-` and `_` are allowed, the first a letter or digit")
			return
		}
		if f.Hosts == nil {
			f.Hosts = map[string]Host{}
		}
		f.Hosts[name] = d.host(v)
	})
	d.each(top.get("vms"), func(name string, v value) {
		checked, err := microvm.ParseName(name)
		if err != nil {
			d.fail(v.path, "has a bad name: "+err.Error())
			return
		}
		if f.VMs == nil {
			f.VMs = map[microvm.Name]VM{}
		}
		f.VMs[checked] = d.vm(v, f.Hosts)
	})
	if d.err != nil {
		return Fleet{}, nil, d.err
	}
	return f, d.warnings(), nil
}

func (d *decoder) host(v value) Host {
	o := d.object(v, "address", "sudo", "buildOn")
	if d.err == nil && !o.has("address") {
		d.fail(v.path, "has no `address`")
	}
	h := Host{Sudo: d.boolean(o.get("sudo")), BuildOn: d.buildPlace(o.get("buildOn"))}
	if a := d.address(o.get("address")); a != nil {
		h.Address = *a
	}
	return h
}

func (d *decoder) vm(v value, hosts map[string]Host) VM {
	o := d.object(v, "host", "target", "targetSudo", "tags", "restart", "updateFlake", "buildOn", "health")
	vm := VM{
		Host:        o.get("host").text(d),
		Target:      d.address(o.get("target")),
		TargetSudo:  d.boolean(o.get("targetSudo")),
		Tags:        d.texts(d.unused(o.get("tags")), nonEmpty),
		Restart:     o.get("restart").text(d),
		UpdateFlake: o.get("updateFlake").text(d),
		BuildOn:     d.buildPlace(o.get("buildOn")),
		Health:      d.health(o.get("health")),
	}
	if _, known := hosts[vm.Host]; o.has("host") && !known {
		d.fail(v.path+".host", fmt.Sprintf("is %.80q, which ferry.hosts does not have%s", vm.Host, didYouMean(vm.Host, keys(hosts))))
	}
	if vm.Target != nil && vm.Target.Local {
		d.fail(v.path+".target", "is `local`, but a target is the system inside the VM")
	}
	if o.has("restart") {
		d.oneOf(v.path+".restart", vm.Restart, "auto", "if-needed", "always", "never")
	}
	if o.has("updateFlake") {
		if err := CheckUpdateRef(vm.UpdateFlake); err != nil {
			d.fail(v.path+".updateFlake", "is wrong: "+err.Error())
		}
	}
	return vm
}

func (d *decoder) health(v value) *Health {
	if v.absent() {
		return nil
	}
	keys := []string{"command", "timeout"}
	for _, k := range health.Kinds() {
		keys = append(keys, k.Name)
	}
	o := d.object(v, keys...)
	if command := o.get("command"); !command.absent() {
		if err := health.ValidCommand(command.text(d)); err != nil {
			d.fail(command.path, err.Error())
		}
	}
	h := &Health{
		Command: o.get("command").text(d),
		Timeout: time.Duration(d.integer(o.get("timeout"), 1, maxHealthTimeout)) * time.Second,
	}
	for _, k := range health.Kinds() {
		*k.Of(&h.Checks) = d.texts(o.get(k.Name), saying(k.Valid))
	}
	return h
}

func (d *decoder) address(v value) *microvm.Address {
	if v.absent() {
		return nil
	}
	s := v.text(d)
	if d.err != nil {
		return nil
	}
	a, err := microvm.ParseAddress(s)
	if err != nil {
		d.fail(v.path, "is wrong: "+err.Error())
		return nil
	}
	return &a
}

func (d *decoder) buildPlace(v value) *microvm.BuildPlace {
	if v.absent() {
		return nil
	}
	s := v.text(d)
	if d.err != nil {
		return nil
	}
	p, err := microvm.ParseBuildPlace(s)
	if err != nil {
		d.fail(v.path, "is wrong: "+err.Error())
		return nil
	}
	return &p
}

// BuildOn is where the fleet has a VM built; nil where it says nothing.
func (f *Fleet) BuildOn(name microvm.Name) *microvm.BuildPlace {
	if place := f.VMs[name].BuildOn; place != nil {
		return place
	}
	host, _ := f.HostOf(name)
	return host.BuildOn
}

func nonEmpty(s string) string {
	if strings.TrimSpace(s) == "" {
		return "is empty"
	}
	return ""
}

// saying is a check for texts.
func saying(check func(string) error) func(string) string {
	return func(s string) string {
		if err := check(s); err != nil {
			return err.Error()
		}
		return ""
	}
}
