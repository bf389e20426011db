package ui

import (
	"regexp"
	"strings"
)

// Redacted stands for a secret that was left out.
const Redacted = "REDACTED"

// A flake's URL may carry a password (`git+https://user:password@host`) or a
// token (`?access_token=…`, as some forges take them), and Nix takes tokens as
// the value of its setting access-tokens. Nix repeats all of them in its messages.
var (
	// Without quotes, blanks and backslashes, so that it also fits inside JSON.
	urlUserinfo = regexp.MustCompile(`(\b[A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#"'\\<>]*)@`)
	secretQuery = regexp.MustCompile(`(?i)\b((?:[a-z0-9]+[_-])*(?:access[_-]?token|private[_-]?token|token|password|passwd|secret|api[_-]?key|signature|sig))=([^&;\s"'\\<>]+)`)
	accessToken = regexp.MustCompile(`(?i)(access-tokens['"]?(?:\s+|\s*=\s*)['"]?)([^\s'"\\]+=[^\s'"\\]+(?: +[^\s'"\\]+=[^\s'"\\]+)*)`)
	forgeToken  = regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,})`)
)

// Redact leaves the passwords and tokens out of URLs, command lines and JSON. A
// user name in a URL stays (`ssh://git@host`). What it returns is for people, logs
// and records: it may lead nowhere any more.
func Redact(s string) string {
	if strings.Contains(s, "://") {
		s = urlUserinfo.ReplaceAllStringFunc(s, redactUserinfo)
	}
	if strings.ContainsRune(s, '=') {
		s = accessToken.ReplaceAllString(s, "${1}"+Redacted)
		s = secretQuery.ReplaceAllString(s, "${1}="+Redacted)
	}
	if strings.Contains(s, "gh") || strings.Contains(s, "glpat") {
		s = forgeToken.ReplaceAllString(s, Redacted)
	}
	return s
}

// redactUserinfo: a password follows the first colon. A name alone in front of
// http is how forges take tokens, too.
func redactUserinfo(match string) string {
	m := urlUserinfo.FindStringSubmatch(match)
	scheme, who := m[1], m[2]
	name, _, hasPassword := strings.Cut(who, ":")
	switch {
	case hasPassword && name != "":
		return scheme + name + ":" + Redacted + "@"
	case hasPassword, strings.Contains(scheme, "http"):
		return scheme + Redacted + "@"
	}
	return match
}
