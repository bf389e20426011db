//go:build lab

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// readme returns the fenced blocks of the README in a language.
func readme(t *testing.T, language string) []string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(b), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("the README has no block of %s", language)
	}
	return blocks
}

// The README's `ferry` output is evaluated by a real Nix and accepted without a
// warning; its addresses are the ones that are used.
func TestREADMEFerryOutput(t *testing.T) {
	value, ok := "", false
	for _, block := range readme(t, "nix") {
		if value, ok = strings.CutPrefix(strings.TrimSpace(block), "ferry ="); ok {
			break
		}
	}
	if !ok {
		t.Fatal("no Nix block of the README is a `ferry` output")
	}
	value = strings.TrimSuffix(value, ";")
	modules := map[string]string{"web": vmModule("web"), "cron": vmModule("cron")}
	in := newInfra(t, value, modules)
	in.ferry("rebuild", "web", toHost1, "--dry-run").want(0, "would").without("warning: the flake")
	in.ferry("rebuild", "cron").want(1, "ssh to root@server.example.com", "nothing was changed")

	in = newInfra(t, strings.Replace(value, "target =", "targt =", 1), modules)
	in.ferry("rebuild", "web", toHost1, "--dry-run").want(1, "ferry.vms.web.targt", "did you mean `target`?")
}

// The README's commands do what it says, one after the other, each with a change
// to deploy. Left out is what needs other machines than the lab has.
func TestREADMECommands(t *testing.T) {
	in, vm := newLive(t, "web")
	invocation := vm.invocation()
	addresses := strings.NewReplacer("root@server", "root@host1", "root@web.example.com", "root@box", "doctor server web", "doctor root@host1 root@box")
	elsewhere := regexp.MustCompile(`--override-input|github:|\blocal\b|--use-remote-sudo|attach 2|ssh-ng:|hydra|--push`)
	said := map[string]string{
		"--dry-run": "would", "boot": "what runs was not touched", "test": "tested live", "dry-activate": "nothing was changed",
		"install": "what runs was not touched", "switch": "switched live", "--update-flake": "switched live", "rebuild": "switched live",
	}
	ran := 0
	for _, block := range readme(t, "console") {
		if strings.Contains(block, "$ sed") {
			continue // the demo's, which runs by itself
		}
		for line := range strings.Lines(block) {
			line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "$ "), " #")
			words := strings.Fields(addresses.Replace(strings.ReplaceAll(line, "'", "")))
			if len(words) < 2 || words[0] != "ferry" || elsewhere.MatchString(line) {
				continue
			}
			ran++
			if words[1] != "switch" { // which activates what was installed before
				in.write("web.nix", liveModule("web", fmt.Sprintf("page %d", ran)))
			}
			in.ferry(words[1:]...).want(0, said[kindOf(words[1:], said)])
		}
	}
	if ran < 8 {
		t.Errorf("only %d commands were found", ran)
	}
	if vm.invocation() != invocation {
		t.Error("one of them restarted the VM")
	}
	vm.systemctl("stop")
}

// kindOf is what decides what a command says: its last word that is in said.
func kindOf(words []string, said map[string]string) string {
	kind := ""
	for _, w := range words {
		if _, ok := said[w]; ok {
			kind = w
		}
	}
	return kind
}
