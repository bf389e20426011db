//go:build lab

package lab

import (
	"strings"
	"testing"
)

// The flake has what tests of ferry rely on: VMs that can be built and VMs that
// fail in one way each.
func TestFlake(t *testing.T) {
	l := newTestLab(t, 1)
	op := machine(t, l, "operator")
	runner := func(vm string) string { return ".#nixosConfigurations." + vm + ".config.microvm.declaredRunner" }
	inInfra := func(script string) string { return "cd /root/infra; " + script }

	for _, vm := range []string{"cron", "queue", "thirdparty", "misnamed", "noshare", "nosshd", "box"} {
		out := sh(t, op, inInfra("nix build --no-link --print-out-paths "+runner(vm)))
		if got := sh(t, op, "cat $(readlink -f "+out+"/bin/microvm-run)"); !strings.Contains(got, "exec -a") {
			t.Errorf("%s: %s", vm, got)
		}
		system := sh(t, op, "ls "+out+"/share/microvm | grep -cx system || true")
		if want := map[bool]string{true: "0", false: "1"}[vm == "thirdparty"]; system != want {
			t.Errorf("%s: share/microvm/system: %s, want %s", vm, system, want)
		}
	}
	fails := map[string]string{
		"nobuild":  "undefined reference to 'frobnicate'",
		"broken":   "has no sensible value",
		"norunner": "does not provide attribute",
	}
	for vm, why := range fails {
		if out := sh(t, op, inInfra("nix build --no-link "+runner(vm)+" 2>&1 && echo built || true")); !strings.Contains(out, why) || strings.HasSuffix(out, "built") {
			t.Errorf("%s: %s", vm, out)
		}
	}

	t.Run("another memory size is the same system, another page is not", func(t *testing.T) {
		drv := func() (system, all string) {
			return sh(t, op, inInfra("nix eval --raw .#nixosConfigurations.web.config.system.build.toplevel.drvPath")),
				sh(t, op, inInfra("nix eval --raw "+runner("web")+".drvPath"))
		}
		s0, r0 := drv()
		if err := l.EditFlake("vms/web.nix", "microvm.mem = 512;", "microvm.mem = 768;"); err != nil {
			t.Fatal(err)
		}
		s1, r1 := drv()
		if s1 != s0 || r1 == r0 {
			t.Errorf("memory: system %s → %s, runner %s → %s", s0, s1, r0, r1)
		}
		if err := l.EditFlake("vms/web.nix", `"Hello"`, `"Good day"`); err != nil {
			t.Fatal(err)
		}
		if s2, _ := drv(); s2 == s0 {
			t.Error("another page is the same system")
		}
		if err := l.ResetFlake(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s3, r3 := drv(); s3 != s0 || r3 != r0 {
			t.Error("the flake reset is another one")
		}
	})

	t.Run("a local input overrides the locked one", func(t *testing.T) {
		sh(t, op, "mkdir -p /root/other && echo '<p>Other</p>' >/root/other/footer.html")
		eval := "nix eval --raw .#nixosConfigurations.web.config.services.page.footer"
		if got := sh(t, op, inInfra(eval+" --override-input site path:/root/other 2>/dev/null")); got != "<p>Other</p>" {
			t.Errorf("overridden: %s", got)
		}
		if got := sh(t, op, inInfra(eval)); got != "<p>Made with ferry.</p>" {
			t.Errorf("locked: %s", got)
		}
	})

	t.Run("packages show in the closure's differences", func(t *testing.T) {
		before := sh(t, op, inInfra("nix build --no-link --print-out-paths "+runner("box")))
		if err := l.EditFlake("vms/box.nix", `"hello" "1.0"`, `"hello" "2.0"`); err != nil {
			t.Fatal(err)
		}
		after := sh(t, op, inInfra("nix build --no-link --print-out-paths "+runner("box")))
		if got := sh(t, op, "nix store diff-closures "+before+" "+after); !strings.Contains(got, "hello: 1.0 → 2.0") {
			t.Errorf("%q", got)
		}
	})
}
