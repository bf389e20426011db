package target

import (
	"fmt"

	"ferry/internal/microvm"
)

// Hint is where a host says that the system inside is. Nobody logs in there on the
// host's word alone: it may name any machine that the operator can log in to.
type Hint struct {
	Address microvm.Address
	Sudo    bool
}

func (h Hint) String() string {
	if h.Sudo {
		return h.Address.String() + " (with sudo)"
	}
	return h.Address.String()
}

// ParseHint reads a hint. The error says what is wrong with it, not whose it is.
func ParseHint(address string, sudo bool) (Hint, error) {
	a, err := microvm.ParseAddress(address)
	if err != nil || a.Local {
		return Hint{}, fmt.Errorf("is not a valid address: %.80q", address)
	}
	return Hint{a, sudo}, nil
}
