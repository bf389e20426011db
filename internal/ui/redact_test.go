package ui

import (
	"bytes"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"git+https://alice:hunter2@git.example.org/infra?ref=main": "git+https://alice:REDACTED@git.example.org/infra?ref=main",
		"git+https://hunter2@git.example.org/infra":                "git+https://REDACTED@git.example.org/infra",
		"https://:hunter2@git.example.org/infra":                   "https://REDACTED@git.example.org/infra",
		"git+https://alice:hun@ter2@git.example.org/infra":         "git+https://alice:REDACTED@git.example.org/infra",
		"fatal: unable to access 'https://a:hunter2@x/': 403":      "fatal: unable to access 'https://a:REDACTED@x/': 403",
		"https://x/a.tar.gz?access_token=hunter2&rev=1":            "https://x/a.tar.gz?access_token=REDACTED&rev=1",
		`{"url":"https://x/?a=1\u0026private_token=hunter2"}`:      `{"url":"https://x/?a=1\u0026private_token=REDACTED"}`,
		"https://x/?X-Amz-Signature=hunter2":                       "https://x/?X-Amz-Signature=REDACTED",
		"nix eval --option access-tokens github.com=hunter2 .":     "nix eval --option access-tokens REDACTED .",
		"--option access-tokens 'a.org=hunter2 b.org=PAT:hunter2'": "--option access-tokens 'REDACTED'",
		"access-tokens = github.com=hunter2":                       "access-tokens = REDACTED",
		"token ghp_0123456789abcdef0123 is bad":                    "token REDACTED is bad",

		"git+ssh://git@github.com/a/b":                        "git+ssh://git@github.com/a/b",
		"ssh://root@server:22":                                "ssh://root@server:22",
		"github:owner/repo?narHash=sha256-x":                  "github:owner/repo?narHash=sha256-x",
		"https://x/path@v1?ref=main":                          "https://x/path@v1?ref=main",
		"web: switched live in root@box: token of the system": "web: switched live in root@box: token of the system",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, wanted %q", in, got, want)
		}
	}
}

// A secret is left out of whatever is printed, so no log of a CI keeps it.
func TestNoSecretIsPrinted(t *testing.T) {
	const secret = "git+https://alice:hunter2@git.example.org/infra"
	var out bytes.Buffer
	u := &UI{Out: &out, Err: &out, Verbose: true}
	u.Step("web", "%s", secret)
	u.Detail("web", "%s", secret)
	u.Warn("%s", secret)
	u.Error(secret, secret, []string{secret})
	w := u.Log("nix")
	_, _ = w.Write([]byte(secret + "\n"))
	_ = u.Text(secret)
	_ = u.Data(map[string]string{"flake": secret})
	_ = u.Table([]string{"FLAKE"}, []Row{{Cells: []string{secret}}})
	if got := out.String(); strings.Contains(got, "hunter2") || strings.Count(got, "git.example.org") != 10 {
		t.Errorf("printed: %s", got)
	}
}
