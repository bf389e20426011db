package docs

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry/docs"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/flake"
	"ferry/internal/health"
	"ferry/internal/helperbin"
	"ferry/internal/hostapi"
	"ferry/internal/microvm"
	"ferry/internal/nix"
	"ferry/internal/remote"
	"ferry/internal/trouble"
	"ferry/internal/ui"
)

// shown is an error as docs/troubleshooting.md shows it. Where only the code that
// meets it can make it, file is where, and the words are literals of that file.
type shown struct {
	about trouble.Section
	err   error
	file  string
	words []string
}

// said is an error that code makes in passing: of a format and a hint in file.
func said(about trouble.Section, file, format, hint string, args ...any) shown {
	f := hostapi.Refuse(fmt.Sprintf(format, args...), hint).About(about)
	return shown{about, f, file, []string{format, hint}}
}

const (
	someDrv    = "/nix/store/5hi2c2li9iynm8pgwl2wcdvjsqpy6dfc-nginx.conf.drv"
	someRunner = "/nix/store/3blb5aa2my0q25zkq8dpmbsnhppc3pdl-microvm-qemu-web"
)

func everyError(t *testing.T) []shown {
	host, guest := microvm.Address{User: "root", Host: "server"}, microvm.Address{User: "root", Host: "web.example.com"}
	ssh := func(a microvm.Address, messages string) error { return remote.NewConnectError(a, messages) }
	old, err := nix.ParseVersion("nix (Nix) 2.18.1")
	if err != nil {
		t.Fatal(err)
	}
	_, noHelper := helperbin.For("linux/riscv64")
	full := &nix.CommandError{Command: "nix copy …", Err: fmt.Errorf("exit status 1"), Stderr: []string{"error: writing to file: No space left on device"}}
	eval := func(message, position string) error {
		failure := &nix.EvalFailure{Err: &nix.CommandError{Stderr: []string{message}}}
		return &flake.EvalError{Ref: ".", Message: message, Position: position, Err: failure}
	}
	build := func(message string) error {
		be := &nix.BuildError{Derivation: someDrv, Message: message}
		return &hostapi.Failure{Message: fmt.Sprintf("building %s failed: %s", be.Derivation, be.Message), Hint: be.HintOn("the host"), See: be.Section()}
	}
	unsigned := nix.DescribeSigners(someRunner, []string{"cache.example.org-1"}, nil)
	return []shown{
		{about: trouble.UnknownHostKey, err: ssh(host, "Host key verification failed.")},
		{about: trouble.ChangedHostKey, err: ssh(host, "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @")},
		{about: trouble.LoginRefused, err: ssh(host, "root@server: Permission denied (publickey).")},
		{about: trouble.Unreachable, err: ssh(host, "ssh: connect to host server port 22: Connection timed out")},
		{about: trouble.Unreachable, err: ssh(host, "kex_exchange_identification: Connection closed by remote host")},
		{about: trouble.SessionRefused, err: ssh(host, "mux_client_request_session: session request failed: Session open refused by peer\nConnection closed by UNKNOWN port 65535")},
		{about: trouble.SessionRefused, err: &nix.CommandError{Command: "nix copy …", Err: fmt.Errorf("exit status 1"), Stderr: []string{"mux_client_request_session: session request failed: Session open refused by peer"}}},
		{about: trouble.NoisyShell, err: remote.SlowShell(host, time.Minute)},
		{about: trouble.NoisyShell, err: remote.NoisyShell(host)},
		{about: trouble.NoisyShell, err: &nix.NoisyShellError{Err: &nix.CommandError{Command: "nix copy …", Err: fmt.Errorf("exit status 1"), Stderr: []string{"error: protocol mismatch, got 'Welcome!'"}}}},
		{trouble.Sudo, &remote.SudoError{Host: "deploy@server", Why: "sudo wants a password, and there is no terminal to ask for it",
			Next: "run ferry on a terminal, log in as root, or give the user NOPASSWD in sudo's rules", Stderr: "sudo: a password is required"},
			"internal/remote/sudo.go", []string{"sudo wants a password, and there is no terminal to ask for it", "run ferry on a terminal, log in as root, or give the user NOPASSWD in sudo's rules"}},
		{trouble.Sudo, &remote.SudoError{Host: "deploy@server", Why: "the login is not root's", Next: "log in as root, or let ferry use sudo (--host-sudo, --target-sudo)"},
			"internal/remote/sudo.go", []string{"the login is not root's", "log in as root, or let ferry use sudo (--host-sudo, --target-sudo)"}},
		{about: trouble.NixNotFound, err: nix.ErrNoNix},
		said(trouble.NixNotFound, "internal/host/prepare.go", "Nix on the host: %v", "install Nix there, or put it on the PATH of root's ssh sessions", nix.ErrNoNix),
		{about: trouble.OldNix, err: nix.CheckVersion(old, "this machine")},
		said(trouble.UntrustedUser, "internal/deploy/transfer/trust.go",
			"Nix on %s does not trust the user who logs in there, and takes nothing from such a user that was built elsewhere and is not signed",
			"log in as root or let ferry use sudo (--host-sudo), or name that user in trusted-users in the host's nix.conf; where the host gets it from a cache whose key is in its trusted-public-keys, or with --build-on host, no trust is needed", "deploy@server"),
		said(trouble.UnsignedPath, "internal/host/fetch.go", "not accepted by the host: %s", "add the cache's key to trusted-public-keys in the host's nix.conf, if you trust it", unsigned),
		{about: trouble.DiskFull, err: hostapi.FailureOf(fmt.Errorf("writing the flake's locks: %w", &os.PathError{Op: "write", Path: "/tmp/ferry-lock-1", Err: syscall.ENOSPC}))},
		{about: trouble.DiskFull, err: full},
		{about: trouble.FlakeNotFound, err: eval("could not find a flake.nix file", "")},
		{about: trouble.UnknownVM, err: &flake.UnknownVMError{Ref: ".", Name: "wbe", Existing: []string{"cron", "web"}}},
		{about: trouble.UntrackedFile, err: eval("path '/nix/store/9yqrh7g4mkzmp5g9xw6a6jxvzbhq5h0x-source/vms/web.nix' does not exist", "flake.nix:12:17")},
		{about: trouble.UntrackedFile, err: eval("Path 'vms/web.nix' in the repository \"/home/me/infra\" is not tracked by Git.\n\nTo make it visible to Nix, run:\n\ngit -C \"/home/me/infra\" add \"vms/web.nix\"", "flake.nix:12:17")},
		{about: trouble.EvaluationFailed, err: eval("undefined variable 'pkg'", "vms/web.nix:3:5")},
		{about: trouble.BuildFailed, err: build("builder for '" + someDrv + "' failed with exit code 1"), file: "internal/host/built.go", words: []string{"building %s failed: %s"}},
		{about: trouble.OtherPlatform, err: build("a 'x86_64-linux' with features {} is required to build '" + someDrv + "', but I am a 'aarch64-linux' with features {}")},
		{about: trouble.OtherPlatform, err: noHelper},
		{about: trouble.Locked, err: hostapi.Lock{By: "ann@laptop", Deployment: "20261122T001450-b5d136", Since: time.Date(2026, 11, 22, 0, 14, 50, 0, time.UTC)}.Refusal("web")},
		said(trouble.NotAHost, "internal/host/inventory/see.go", "this machine has no microvm@.service: it is not a host for MicroVMs yet", "import microvm.nixosModules.host on NixOS, elsewhere run `ferry host setup`"),
		said(trouble.DeclaredByHost, "internal/host/inventory/see.go", "%s is declared by the host's own NixOS configuration (%s)",
			"deploy the host instead, or take the VM out of its microvm.vms (or give it an updateFlake)", "web", "its directory has a `toplevel` link"),
		said(trouble.WrongTarget, "internal/deploy/target/meeting.go", "the machine at %s calls itself %.80q, but %s is configured as %q",
			"check the target's address; --no-guest goes on without looking there before", guest, "db", "web", "web"),
		said(trouble.StoreNotShared, "internal/deploy/live/enter.go", "the machine at %s does not see the host's /nix/store (%s is not there)",
			"check that the target is the VM on this host, and that it has booted with the store's share; --restart=always restarts instead", guest, someRunner),
		said(trouble.MissingShare, "internal/deploy/evaluated.go", "share sources are missing on %s: %s",
			"make these directories on the host, or correct microvm.shares", host, "/srv/web"),
		said(trouble.SwitchInhibitors, "internal/host/plan/decide.go", "NixOS refuses to test it while the VM runs: %s",
			"a restart brings it: leave out `test`, with --restart=if-needed", "dbus → dbus-broker"),
		said(trouble.UnitsFailed, "internal/deploy/live/follow.go", "units failed in the guest at %s (exit status 4 of switch-to-configuration)",
			"their logs: `journalctl -u UNIT` in the guest; --accept-failed-units takes it as it is", guest),
		{about: trouble.ChecksFailed, err: &health.Error{Within: time.Minute, Failed: []string{"HTTP http://10.0.0.5/healthz: status 502 Bad Gateway"}}},
		{about: trouble.NotConfirmed, err: &deploy.Error{VM: "web", RolledBack: true, Err: fmt.Errorf("logging in to %s: %w", guest, ssh(guest, "ssh: connect to host web.example.com port 22: Connection timed out"))}},
		said(trouble.UnitDown, "internal/systemd/vm.go", "%s started but did not stay up: %s (%s), result %s", "its whole log: journalctl -u microvm@web.service (on the host)",
			"microvm@web.service", "activating", "auto-restart", "exit-code").without("its whole log: journalctl -u microvm@web.service (on the host)"),
		said(trouble.NoKVM, "internal/systemd/vm.go", "%s started but did not stay up: %s (%s), result %s",
			"the hypervisor can't use /dev/kvm there: `ls -l /dev/kvm` and `id microvm` on the host say why; the whole log: journalctl -u microvm@web.service",
			"microvm@web.service", "activating", "auto-restart", "exit-code").without("the hypervisor can't use /dev/kvm there: `ls -l /dev/kvm` and `id microvm` on the host say why; the whole log: journalctl -u microvm@web.service"),
		said(trouble.LeftUnfinished, "internal/host/unfinished/settle.go",
			"deployment %s of %s was left unfinished: its runner is current and runs, but nobody has confirmed it, and it does not pass its checks: %v",
			"keep it with --settle=keep, or have what ran before started again with --settle=undo", "20261122T001450-b5d136", "web", "health checks failed for 30s: TCP 10.0.0.5:443: connection refused"),
	}
}

// without leaves out words that the file puts together.
func (s shown) without(word string) shown {
	s.words = slices.DeleteFunc(s.words, func(w string) bool { return w == word })
	return s
}

// Each error is shown as ferry prints it, in the section that it names; where the
// document has `…`, anything may stand.
func TestTroubleshootingShowsErrorsAsPrinted(t *testing.T) {
	sections := map[trouble.Section][]*regexp.Regexp{}
	for _, part := range strings.Split(read(t, "docs/troubleshooting.md"), "\n## ")[1:] {
		title, text, _ := strings.Cut(part, "\n")
		name := trouble.Section(strings.ReplaceAll(strings.ToLower(title), " ", "-"))
		for _, b := range blocks(text) {
			if b.language == "text" {
				pattern := strings.ReplaceAll(regexp.QuoteMeta(withoutLog(b.lines)), "…", "(?s:.*)")
				sections[name] = append(sections[name], regexp.MustCompile("^"+pattern+"$"))
			}
		}
	}
	literals := map[string][]string{}
	for _, s := range everyError(t) {
		explained := cmdline.Explain(s.err)
		if explained.See != s.about {
			t.Errorf("%v: it names the section %q, not %q", s.err, explained.See, s.about)
		}
		printed := printedAs(explained, s.about)
		if !slices.ContainsFunc(sections[s.about], func(r *regexp.Regexp) bool { return r.MatchString(printed) }) {
			t.Errorf("docs/troubleshooting.md does not show under %q:\n%s", s.about, printed)
		}
		if s.file != "" && literals[s.file] == nil {
			literals[s.file] = stringsOf(t, s.file)
		}
		for _, word := range s.words {
			if !slices.ContainsFunc(literals[s.file], func(l string) bool { return strings.Contains(l, word) || sameButVerb(l, word) }) {
				t.Errorf("%s does not say %q", s.file, word)
			}
		}
	}
}

// sameButVerb allows for a message whose end is put together: `x: ` for `x: %s`.
func sameButVerb(literal, format string) bool {
	cut, ok := strings.CutSuffix(format, "%s")
	return ok && literal == cut
}

func withoutLog(lines []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.HasPrefix(l, "  | ") }), "\n")
}

func printedAs(e cmdline.Explained, about trouble.Section) string {
	var out bytes.Buffer
	to := ui.New(&out, &out, true)
	e.Print(to)
	to.More("ferry explain " + string(about))
	return strings.TrimSpace(out.String())
}

// stringsOf are the texts of a file, those that are put together with + as one.
func stringsOf(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			if s := textOf(e); s != "" {
				found = append(found, s)
			}
		}
		return true
	})
	return found
}

func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(e.Value)
		return s
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return textOf(e.X) + textOf(e.Y)
		}
	}
	return ""
}

// The sections are those that errors name: none is missing, none is unused, and
// each has an error in the table above.
func TestTroubleshootingSections(t *testing.T) {
	var documented, tried []string
	for _, s := range docs.TroubleshootingSections() {
		documented = append(documented, s.Name)
	}
	named := constants(t, "internal/trouble/trouble.go", "", "Section")
	sameSet(t, "section of docs/troubleshooting.md", documented, named)
	for _, s := range everyError(t) {
		tried = append(tried, string(s.about))
	}
	sameSet(t, "section with an error in this test", tried, named)
	used := usedSections(t)
	for _, name := range sectionNames(t) {
		if !used[name] {
			t.Errorf("no error names trouble.%s", name)
		}
	}
}

func sectionNames(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "internal/trouble/trouble.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			names = append(names, spec.Names[0].Name)
		}
		return true
	})
	return names
}

// usedSections are the constants that ferry's code uses.
func usedSections(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "trouble" {
					used[sel.Sel.Name] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}
