package host

// Step is one change that a deployment makes on the host. Steps lists them all,
// so that the fault tests can break off at each.
type Step string

// The steps, in the order of a deployment.
const (
	StepLock     Step = "lock"     // the VM's lock, and who has it
	StepNote     Step = "note"     // the note of a deployment under way
	StepPending  Step = "pending"  // roots for what will be copied and built
	StepBuild    Step = "build"    // the build or download, rooted as `pending`
	StepActivate Step = "activate" // a live switch was announced
	StepGuard    Step = "guard"    // the unit that undoes what is left unfinished
	StepRoots    Step = "roots"    // the VM's directory and the roots of its links
	StepRecord   Step = "record"   // the runner's record
	StepProfile  Step = "profile"  // the generation
	StepOld      Step = "old"      // `old`
	StepCurrent  Step = "current"  // `current`
	StepFlake    Step = "flake"    // `flake`
	StepRunning  Step = "running"  // what a live-switched guest runs
	StepRestart  Step = "restart"  // the unit is started or restarted
	StepCheck    Step = "check"    // the unit is watched, checks are made
	StepAwait    Step = "await"    // the operator's answer is waited for
	StepHistory  Step = "history"  // the entry in the history
	StepForget   Step = "forget"   // the pending roots and the note are dropped
	StepUndo     Step = "undo"     // noted that all is undone from here on
	StepUndoLink Step = "undo-current"
	StepUndoGen  Step = "undo-generation"
	StepUndoRest Step = "undo-flake" // `flake` and `old`
	StepUndoUnit Step = "undo-restart"
)

// Steps are all steps of build, commit, activation and undo on the host.
func Steps() []Step {
	return []Step{
		StepLock, StepNote, StepPending, StepBuild, StepActivate, StepGuard,
		StepRoots, StepRecord, StepProfile, StepOld, StepCurrent, StepFlake, StepRunning,
		StepRestart, StepCheck, StepAwait, StepHistory, StepForget,
		StepUndo, StepUndoLink, StepUndoGen, StepUndoRest, StepUndoUnit,
	}
}

// do makes one change of a deployment.
func do(step Step, change func() error) error {
	reach(step)
	return change()
}
