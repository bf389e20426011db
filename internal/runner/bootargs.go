package runner

import (
	"regexp"
	"strings"

	"ferry/internal/microvm"
)

var (
	initRef    = regexp.MustCompile(`(?:^|[^A-Za-z0-9_.-])init=(/nix/store/[0-9a-df-np-sv-z]{32}-[A-Za-z0-9+._?=-]+)/init\b`)
	regInfoRef = regexp.MustCompile(`(?:^|[^A-Za-z0-9_.-])regInfo=(/nix/store/[A-Za-z0-9+._?=/-]+)`)
)

// bootArguments are what a kernel's command line says of the system inside.
type bootArguments struct {
	system  microvm.StorePath
	regInfo string
}

// maxFollowed is how many files of the store are looked at for a kernel's command
// line: a runner has one configuration file at most.
const maxFollowed = 16

// bootArguments finds the kernel's command line: on the hypervisor's, or, as
// Firecracker has it, in a configuration file of the store that the script names.
func (r Runner) bootArguments(run string) bootArguments {
	if args, ok := parseBootArguments(run); ok {
		return args
	}
	for i, ref := range storeRef.FindAllString(run, maxFollowed) {
		if i >= maxFollowed || strings.Contains(ref, "/bin/") {
			continue
		}
		if text, ok := r.storeText(ref); ok {
			if args, ok := parseBootArguments(text); ok {
				return args
			}
		}
	}
	return bootArguments{}
}

// parseBootArguments reads `init=SYSTEM/init` and `regInfo=FILE`; ok where either is
// there. The kernel goes by the last one of a name.
func parseBootArguments(text string) (args bootArguments, ok bool) {
	if all := initRef.FindAllStringSubmatch(text, -1); len(all) > 0 {
		if sp, err := microvm.ParseStorePath(all[len(all)-1][1]); err == nil {
			args.system = sp
		}
	}
	if all := regInfoRef.FindAllStringSubmatch(text, -1); len(all) > 0 {
		args.regInfo = all[len(all)-1][1]
	}
	return args, args.system != "" || args.regInfo != ""
}
