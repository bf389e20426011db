// Package step names the changes that a deployment makes on a host, so that each can
// be broken off by a test. It owns the names and their order; it must not know what a
// change does.
package step

// Step is one change that a deployment makes on the host. All lists them,
// so that the fault tests can break off at each.
type Step string

// The steps, in the order of a deployment.
const (
	Lock     Step = "lock"     // the VM's lock, and who has it
	Note     Step = "note"     // the note of a deployment under way
	Pending  Step = "pending"  // roots for what will be copied and built
	Build    Step = "build"    // the build or download, rooted as `pending`
	Activate Step = "activate" // a live switch was announced
	Reboot   Step = "reboot"   // the unit is restarted as a last resort
	Guard    Step = "guard"    // the unit that undoes what is left unfinished
	WayBack  Step = "way-back" // what an undo needs is made
	Roots    Step = "roots"    // the VM's directory and the roots of its links
	Record   Step = "record"   // the runner's record
	Profile  Step = "profile"  // the generation
	Old      Step = "old"      // `old`
	Current  Step = "current"  // `current`
	Flake    Step = "flake"    // `flake`
	Running  Step = "running"  // what a live-switched guest runs
	Restart  Step = "restart"  // the unit is started or restarted
	Check    Step = "check"    // the unit is watched, checks are made
	Await    Step = "await"    // the operator's answer is waited for
	History  Step = "history"  // the entry in the history
	Forget   Step = "forget"   // the pending roots and the note are dropped
	Undo     Step = "undo"     // noted that all is undone from here on
	UndoLink Step = "undo-current"
	UndoGen  Step = "undo-generation"
	UndoRest Step = "undo-flake" // `flake` and `old`
	UndoUnit Step = "undo-restart"
)

// All are the steps of build, commit, activation and undo on the host.
func All() []Step {
	return []Step{
		Lock, Note, Pending, Build, Activate, Reboot, Guard, WayBack,
		Roots, Record, Profile, Old, Current, Flake, Running,
		Restart, Check, Await, History, Forget,
		Undo, UndoLink, UndoGen, UndoRest, UndoUnit,
	}
}

// Do makes one change of a deployment.
func Do(step Step, change func() error) error {
	reach(step)
	return change()
}
