package runner_test

import (
	"strings"
	"testing"

	"ferry/internal/runner"
	"ferry/internal/runner/runnertest"
)

func TestSystemIsFoundForEachHypervisor(t *testing.T) {
	for _, hypervisor := range runnertest.Hypervisors {
		for _, symlink := range []string{"true", "false"} {
			t.Run(hypervisor+" systemSymlink="+symlink, func(t *testing.T) {
				root := t.TempDir()
				made := runnertest.Make(t, root, hypervisor, runnertest.Values{"systemSymlink": symlink})
				r, err := runner.Open(root, made.Path)
				if err != nil {
					t.Fatal(err)
				}
				if r.System != made.System {
					t.Errorf("the system is %s, wanted %s", r.System, made.System)
				}
				if !strings.HasSuffix(r.RegInfo, "-closure-info/registration") {
					t.Errorf("the registration is %q", r.RegInfo)
				}
				if !r.CanSwitch() || r.HostName() != "web" {
					t.Error("the system was not looked into")
				}
			})
		}
	}
}

func TestRunnerWithoutRegistration(t *testing.T) {
	for _, hypervisor := range runnertest.Hypervisors {
		root := t.TempDir()
		made := runnertest.Make(t, root, hypervisor, runnertest.Values{"registerClosure": "false"})
		if r, err := runner.Open(root, made.Path); err != nil || r.RegInfo != "" || r.System != made.System {
			t.Errorf("%s: %+v, %v", hypervisor, r, err)
		}
	}
}
