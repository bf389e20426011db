package transfer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/remote"
	"ferry/internal/trouble"
)

// CheckPlace finds out whether what is built at a place would be taken by the host,
// and connects to a builder. options are the user's.
func (w Way) CheckPlace(ctx context.Context, place microvm.BuildPlace, options []string, dial func(context.Context, microvm.Address) (remote.Conn, error)) (Place, error) {
	w.warnIgnored(ctx, options, place)
	if place.OnHost() {
		return Place{}, nil
	}
	if err := w.checkTrust(ctx, place.Local); err != nil {
		return Place{}, err
	}
	at := Place{Name: PlaceName(place, w.To)}
	if place.Builder == nil {
		return at, nil
	}
	builder, err := dial(ctx, *place.Builder)
	if err != nil {
		return at, fmt.Errorf("the builder: %w", err)
	}
	at.Builder = builder
	target := builder.NixCopy()
	if _, err := w.Nix(nil).Store(ctx, target.Store, target.Env); err != nil {
		return at, fmt.Errorf("asking Nix on the builder %s: %w", at.Name, err)
	}
	return at, nil
}

// checkTrust refuses a host whose Nix would refuse what was built elsewhere: that
// is signed by nobody. here: it is built on this machine.
func (w Way) checkTrust(ctx context.Context, here bool) error {
	target := w.Host.NixCopy()
	if w.Host.Streams() || (target.Store == "" && here) {
		return nil // the helper takes it in as root; it is built in place
	}
	info, err := w.Nix(nil).Store(ctx, target.Store, target.Env)
	if err != nil {
		return fmt.Errorf("asking Nix on %s whether it takes what was built elsewhere: %w", w.To, err)
	}
	if info.Trusted {
		return nil
	}
	return hostapi.Refuse(
		fmt.Sprintf("Nix on %s does not trust the user who logs in there, and takes nothing from such a user that was built elsewhere and is not signed", w.To),
		"log in as root or let ferry use sudo (--host-sudo), or name that user in trusted-users in the host's nix.conf; "+
			"where the host gets it from a cache whose key is in its trusted-public-keys, or with --build-on host, no trust is needed").About(trouble.UntrustedUser)
}

// warnIgnored tells of settings that the user gave for a build at a place and
// that Nix would ignore in silence.
func (w Way) warnIgnored(ctx context.Context, options []string, place microvm.BuildPlace) {
	given := restrictedOptions(options)
	if len(given) == 0 {
		return
	}
	names := strings.Join(given, ", ")
	if !place.Local {
		w.Report.Warn("%s: only the evaluation here gets to see it; %s builds with the settings of its own nix.conf", names, PlaceName(place, w.To))
		return
	}
	if info, err := w.Nix(nil).Store(ctx, "", nil); err == nil && !info.Trusted {
		w.Report.Warn("%s: Nix on this machine ignores it, since you are not one of its trusted-users; set it in nix.conf as root instead", names)
	}
}

// PlaceName names a place for messages.
func PlaceName(place microvm.BuildPlace, host microvm.Address) string {
	switch {
	case place.Local:
		return "this machine"
	case place.Builder != nil:
		return place.Builder.String()
	}
	return host.String()
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
