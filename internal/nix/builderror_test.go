package nix

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	inner = "/nix/store/5hi2c2li9iynm8pgwl2wcdvjsqpy6dfc-inner.drv"
	outer = "/nix/store/3blb5aa2my0q25zkq8dpmbsnhppc3pdl-outer.drv"
	// Nix prints the output of this one behind `inner> `.
	versioned = "/nix/store/5hi2c2li9iynm8pgwl2wcdvjsqpy6dfc-inner-1.2.drv"
)

func reportOf(stderr string) *BuildError {
	r := &buildReport{}
	w := &lineWriter{each: r.line}
	fmt.Fprint(w, stderr)
	w.flush()
	return r.result()
}

// The wordings of 2.26 were recorded; those of 2.31 and newer follow Nix's
// source (DerivationBuildingGoal::fixupBuilderFailureErrorMessage).
func TestBuildErrorWordings(t *testing.T) {
	for _, c := range []struct {
		name, stderr string
		want         *BuildError
	}{
		{"2.26, printed log, dependency fails", "building '" + inner + "'...\ninner> line 1\nother> noise\ninner> line 2\n" +
			"error: builder for '" + inner + "' failed with exit code 3\n" +
			"error: 1 dependencies of derivation '" + outer + "' failed to build\n",
			&BuildError{Derivation: inner, LogTail: []string{"line 1", "line 2"}, Message: "builder for '" + inner + "' failed with exit code 3"}},
		{"2.26, name with a version", "inner> line 1\nerror: builder for '" + versioned + "' failed with exit code 3\n",
			&BuildError{Derivation: versioned, LogTail: []string{"line 1"}, Message: "builder for '" + versioned + "' failed with exit code 3"}},
		{"2.26, quoted log", "error: builder for '" + inner + "' failed with exit code 3;\n" +
			"       last 1 log lines:\n       > hi\n       For full logs, run:\n         nix log " + inner + "\n",
			&BuildError{Derivation: inner, LogTail: []string{"hi"}, Message: "builder for '" + inner + "' failed with exit code 3"}},
		{"2.26, several", "error: 1 dependencies of derivation '" + outer + "' failed to build\n" +
			"error: builder for '" + inner + "' failed with exit code 3\n" +
			"error: build of '" + outer + "^out', '" + inner + "^out' failed\n",
			&BuildError{Derivation: inner, Message: "builder for '" + inner + "' failed with exit code 3"}},
		{"2.31, printed log, dependency fails", "inner> oops\nerror: Cannot build '" + inner + "'.\n       Reason: builder failed with exit code 3.\n" +
			"       Output paths:\n         /nix/store/0b9cl3f9qd131ihizx7amr2n569ww2fm-inner\n" +
			"error: Cannot build '" + outer + "'.\n       Reason: 1 dependency failed.\n       Output paths:\n         /nix/store/vdz53c37gnp4664zb0kgp9kfjrvgjlwp-outer\n" +
			"error: Build failed due to failed dependency\n",
			&BuildError{Derivation: inner, LogTail: []string{"oops"}, Message: "Cannot build '" + inner + "'.\nReason: builder failed with exit code 3."}},
		{"2.31, quoted log", "error: Cannot build '" + inner + "'.\n       Reason: builder failed with exit code 1.\n       Output paths:\n         /nix/store/0b9cl3f9qd131ihizx7amr2n569ww2fm-inner\n" +
			"       Last 2 log lines:\n       > a\n       > b\n       For full logs, run:\n         nix log " + inner + "\n",
			&BuildError{Derivation: inner, LogTail: []string{"a", "b"}, Message: "Cannot build '" + inner + "'.\nReason: builder failed with exit code 1."}},
		{"missing feature", "error: a 'x86_64-linux' with features {kvm} is required to build '" + inner + "', but I am a 'x86_64-linux' with features {nixos-test}\n",
			&BuildError{Derivation: inner, Message: "a 'x86_64-linux' with features {kvm} is required to build '" + inner + "', but I am a 'x86_64-linux' with features {nixos-test}"}},
		{"hash mismatch", "error: hash mismatch in fixed-output derivation '" + inner + "':\n         specified: sha256-AAAA\n            got:    sha256-BBBB\n" +
			"error: 1 dependencies of derivation '" + outer + "' failed to build\n",
			&BuildError{Derivation: inner, Message: "hash mismatch in fixed-output derivation '" + inner + "':\nspecified: sha256-AAAA\ngot:    sha256-BBBB"}},
		{"only the consequence is left", "error: 1 dependencies of derivation '" + outer + "' failed to build\n",
			&BuildError{Derivation: outer, Message: "1 dependencies of derivation '" + outer + "' failed to build"}},
		{"no derivation", "error: opening lock file '/nix/var/nix/db/big-lock': Permission denied\n", nil},
		{"a warning is no error", "warning: error: unable to download '" + inner + "'\n", nil},
		{"nothing", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, reportOf(c.stderr)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBuildErrorIsBounded(t *testing.T) {
	var s strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&s, "inner> line %d\nb%d> x\n", i, i)
	}
	for i := range 2000 {
		fmt.Fprintf(&s, "inner> end %d\n", i)
	}
	fmt.Fprintf(&s, "error: builder for '%s' failed:\n", inner)
	for i := range 1000 {
		fmt.Fprintf(&s, "       more %d\n", i)
	}
	b := reportOf(s.String())
	if len(b.LogTail) != maxLogTail || b.LogTail[maxLogTail-1] != "end 1999" || strings.Count(b.Message, "\n") != maxMessageLines-1 {
		t.Errorf("%d log lines, message %q", len(b.LogTail), b.Message)
	}
}

func FuzzBuildError(f *testing.F) {
	f.Add("inner> hi\nerror: builder for '" + inner + "' failed with exit code 3;\n       last 1 log lines:\n       > hi\n")
	f.Add("error: Cannot build '" + inner + "'.\n       Reason: 1 dependency failed.\n       Output paths:\n         /nix/store/x\n")
	f.Add("error:\nerror: " + inner + " \x1b[31m\n       \n")
	f.Fuzz(func(t *testing.T, stderr string) {
		r := &buildReport{}
		w := &lineWriter{each: r.line}
		fmt.Fprint(w, stderr)
		w.flush()
		if len(r.blocks) > maxErrorBlocks || len(r.logs) > maxLogs || len(r.order) != len(r.logs) {
			t.Fatalf("%d blocks, %d logs, %d in order", len(r.blocks), len(r.logs), len(r.order))
		}
		b := r.result()
		if b == nil {
			return
		}
		if !b.Derivation.IsDerivation() || !strings.Contains(strings.Join(w.lines, "\n"), string(b.Derivation)) {
			t.Errorf("%q: derivation %q is not in it", stderr, b.Derivation)
		}
		if len(b.LogTail) > maxLogTail || strings.Count(b.Message, "\n") >= maxMessageLines {
			t.Errorf("%q: %d log lines, message %q", stderr, len(b.LogTail), b.Message)
		}
		if strings.ContainsAny(b.Error(), "\x1b\x00\r\x07") {
			t.Errorf("%q: control characters in %q", stderr, b.Error())
		}
	})
}
