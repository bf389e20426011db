package guest

import (
	"regexp"
	"strings"
)

const (
	maxWork  = 1 << 30 // bytes of the log of a switch
	maxWord  = 128     // bytes of a boot id
	maxUnits = 256     // failed units that are told apart
	maxUnit  = 256     // bytes of a unit's name, as systemd bounds it
)

// deploymentID is what a deployment may be called; a guest's word becomes a part of
// paths and of names of units in it.
var deploymentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// idOf is a deployment that a guest names; empty where that can't be one.
func idOf(said string) string {
	if !deploymentID.MatchString(said) {
		return ""
	}
	return said
}

// word is a short answer.
func word(said string) string { return said[:min(len(said), maxWord)] }

// unitsOf are the units that a guest lists.
func unitsOf(said string) []string {
	var units []string
	for unit := range strings.FieldsSeq(said) {
		if len(units) == maxUnits {
			break
		}
		units = append(units, unit[:min(len(unit), maxUnit)])
	}
	return units
}
