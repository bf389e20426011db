package guest

// Step is one change that a live switch makes in the guest. Steps lists them
// all, so that the fault tests can break off at each.
type Step string

// The steps, in their order. The scripts name them with `at`.
const (
	StepClaim       Step = "guest-claim"    // the turn to switch this machine is taken
	StepRegister    Step = "guest-register" // the closure is registered with the guest's Nix
	StepArm         Step = "guest-arm"      // the way back is noted and watches
	StepProfile     Step = "guest-profile"  // the system profile
	StepSwitch      Step = "guest-switch"   // switch-to-configuration begins
	StepConfirm     Step = "guest-confirm"  // it is decided that the switch stays
	StepUndo        Step = "guest-undo"     // it is decided that the guest goes back
	StepUndoProfile Step = "guest-undo-profile"
	StepUndoSwitch  Step = "guest-undo-switch"
)

// Steps are all steps of a live switch and its undo in the guest.
func Steps() []Step {
	return []Step{
		StepClaim, StepRegister, StepArm, StepProfile, StepSwitch, StepConfirm,
		StepUndo, StepUndoProfile, StepUndoSwitch,
	}
}
