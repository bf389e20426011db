package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ferry/internal/cli/console"
	"ferry/internal/hostapi"
	"ferry/internal/manage"
	"ferry/internal/ui"
)

func TestPrintList(t *testing.T) {
	const system = "/nix/store/ssssssssssssssssssssssssssssssss-nixos-web-1"
	vms := []manage.VM{
		{Host: "root@server", Listed: hostapi.Listed{Name: "web", State: hostapi.StateRunning, Fresh: hostapi.FreshWaits, Activation: hostapi.ActivateRestart, Waits: []string{"memory 512 → 768 MiB"}, Running: system, Generation: 3, Flake: "github:a/b"}},
		{Host: "root@server", Listed: hostapi.Listed{Name: "live", State: hostapi.StateRunning, Fresh: hostapi.FreshWaits, Activation: hostapi.ActivateLive, Waits: []string{"the system inside"}, CurrentSystem: system}},
		{Host: "root@server", Listed: hostapi.Listed{Name: "old", State: hostapi.StateStopped, Fresh: hostapi.FreshOutdated, WantedSystem: system, CheckError: ""}},
		{Host: "root@server", Listed: hostapi.Listed{Name: "\x1b[2Jevil", State: hostapi.StateNoVM, Fresh: hostapi.FreshUnknown, Problems: []string{"it is \x1b[31mno VM"}}},
		{Host: "root@server", Listed: hostapi.Listed{Name: "busy", State: hostapi.StateRunning, Fresh: hostapi.FreshCurrent, Lock: &hostapi.Lock{By: "ann@laptop", Deployment: "one", Since: time.Now()}}},
	}
	var out bytes.Buffer
	a := &console.Console{UI: ui.New(&out, &out, true)}
	if err := printList(a.UI, vms, true, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"HOST", "web       ", "waits for a restart", "memory 512 → 768 MiB: waits for a restart", "waits for a switch", "ferry switch live",
		"outdated", "the flake yields nixos-web-1", `it is \x1b[31mno VM`, "ann@laptop", "not compared: it has no `flake` file",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Errorf("a host's escape sequence reaches the terminal: %q", out.String())
	}
	out.Reset()
	a.UI.JSON = true
	if err := printList(a.UI, vms, true, true); err != nil {
		t.Fatal(err)
	}
	var first map[string]any
	line, _, _ := strings.Cut(out.String(), "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil || first["host"] != "root@server" || first["status"] != "waits" {
		t.Errorf("%v: %s", err, line)
	}
}
