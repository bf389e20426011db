package flake

import (
	"errors"
	"strings"
	"testing"

	"ferry/internal/nix"
)

func failure(stderr string) *nix.EvalFailure {
	return &nix.EvalFailure{Stderr: strings.Split(stderr, "\n"), Err: errors.New("exit status 1")}
}

const source = "/nix/store/9y0acj9sg616j1lcs3prnh9jsgk97vcr-source"

func TestEvalError(t *testing.T) {
	for _, c := range []struct{ name, stderr, message, position string }{
		{"throw in the flake", `warning: Git tree '/x' is dirty
error:
       … while evaluating attribute 'vms'
         at «string»:120:3:
          119| {
          120|   vms = 1;
             |   ^

       … while calling the 'throw' builtin
         at ` + source + `/flake.nix:7:31:
            6|     a = error: 5;
            7|     bad = throw "no";
             |           ^

       … while calling a function
         at /nix/store/00000000000000000000000000000000-source/lib/trivial.nix:1:2:
            1| x: x
             | ^

       error: no`, "no", "flake.nix:7:31"},
		{"position with the message", `error:
       … while evaluating the attribute 'x'
         at ` + source + `/flake.nix:7:5:
            7|     x = {}.a;
             |     ^

       error: attribute 'a' missing
       at ` + source + `/vm/web.nix:77:9:
           77|     x = {}.a;
             |         ^
       Did you mean b?`, "attribute 'a' missing", "vm/web.nix:77:9"},
		{"syntax", "error: syntax error, unexpected '}'\n       at " + source + "/flake.nix:3:1:\n            2| {\n            3| }\n             | ^", "syntax error, unexpected '}'", "flake.nix:3:1"},
		{"only an input's position", "error:\n       … while x\n         at /nix/store/00000000000000000000000000000000-source/lib/a.nix:1:2:\n            1| x\n\n       error: deep", "deep", "/nix/store/00000000000000000000000000000000-source/lib/a.nix:1:2"},
		{"several lines", "error: The option `a' has conflicting definition values:\n       - In `x.nix': 1\n       - In `y.nix': 2\n       Use `lib.mkForce'.", "The option `a' has conflicting definition values:\n- In `x.nix': 1\n- In `y.nix': 2\nUse `lib.mkForce'.", ""},
		{"not an evaluation", "error: getting status of '/nowhere': No such file or directory", "getting status of '/nowhere': No such file or directory", ""},
		{"no error line", "Segmentation fault", "Segmentation fault", ""},
		{"silence", "", "nix failed without a message", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEvalError(".", []string{source}, failure(c.stderr))
			if e.Message != c.message || e.Position != c.position {
				t.Errorf("message %q at %q; want %q at %q", e.Message, e.Position, c.message, c.position)
			}
			if !strings.Contains(e.Error(), c.message) || !strings.Contains(e.Error(), c.position) {
				t.Errorf("%q", e.Error())
			}
		})
	}
}

func TestEvalErrorIsBounded(t *testing.T) {
	e := newEvalError(".", []string{source}, failure("error: "+strings.Repeat("long line\n       ", 500)))
	if n := strings.Count(e.Message, "\n"); n >= maxEvalLines || len(e.Message) > maxEvalBytes+len("…") {
		t.Errorf("%d lines, %d bytes", n, len(e.Message))
	}
	e = newEvalError(".", []string{source}, failure("error: "+strings.Repeat("é", maxEvalBytes)))
	if len(e.Message) > maxEvalBytes+len("…") || strings.ContainsRune(e.Message, '�') {
		t.Errorf("%d bytes", len(e.Message))
	}
}

func TestUnknownVMError(t *testing.T) {
	many := make([]string, 100)
	for i := range many {
		many[i] = "vm" + strings.Repeat("x", i)
	}
	for _, c := range []struct {
		err  UnknownVMError
		want []string
	}{
		{UnknownVMError{Ref: ".", Name: "wbe", Existing: []string{"db", "web"}}, []string{"flake . has no nixosConfigurations.wbe", "did you mean `web`?", "there are: db, web"}},
		{UnknownVMError{Ref: ".", Name: "web"}, []string{"no nixosConfigurations at all"}},
		{UnknownVMError{Ref: ".", Name: "q", Existing: many}, []string{"and 70 more"}},
	} {
		for _, want := range c.want {
			if !strings.Contains(c.err.Error(), want) {
				t.Errorf("%q does not say %q", c.err.Error(), want)
			}
		}
	}
}
