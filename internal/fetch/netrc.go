package fetch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
)

const maxNetrc = 1 << 20 // bytes

// Netrc are credentials by host name, from a file as curl, git and Nix read it,
// but that `default` has no effect: a password is for a host that somebody named,
// not for whichever one an address or a redirect leads to.
type Netrc struct {
	machines map[string]login
}

type login struct{ user, password string }

// ReadNetrc reads a netrc file. Without the file there are no credentials, and
// that is no error.
func ReadNetrc(path string) (*Netrc, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Netrc{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the netrc file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxNetrc {
		return nil, fmt.Errorf("reading the netrc file: %s is not a file of less than %d bytes", path, maxNetrc)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the netrc file: %w", err)
	}
	n, err := parseNetrc(content)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return n, nil
}

// parseNetrc reads the words `machine HOST`, `default`, `login USER`, `password
// PASSWORD` and `account X` (ftp(1), "THE .netrc FILE"). Macros and quoted words
// are refused, since a wrong guess would send a wrong password.
func parseNetrc(content []byte) (*Netrc, error) {
	n := &Netrc{machines: map[string]login{}}
	words := netrcWords(content)
	var set func(login)
	var now login
	flush := func() {
		if set != nil {
			set(now)
		}
		set, now = nil, login{}
	}
	for i := 0; i < len(words); i++ {
		if words[i] == "default" {
			flush()
			set = func(login) {} // for every host, so for none
			continue
		}
		if i+1 == len(words) {
			return nil, errors.New("the last word lacks its value")
		}
		word, value := words[i], words[i+1]
		i++
		switch {
		case strings.HasPrefix(value, `"`):
			return nil, errors.New("quoted words are not supported")
		case word == "machine":
			flush()
			set = func(l login) {
				if _, there := n.machines[strings.ToLower(value)]; !there {
					n.machines[strings.ToLower(value)] = l // the first one counts
				}
			}
		case word == "login" && set != nil:
			now.user = value
		case word == "password" && set != nil:
			now.password = value
		case word == "account" && set != nil:
		default:
			// The word may be a password in a wrong place: it is not shown.
			return nil, fmt.Errorf("word %d is not one of machine, default, login, password, account", i)
		}
	}
	flush()
	return n, nil
}

func netrcWords(content []byte) []string {
	var words []string
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, maxNetrc+1)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); !strings.HasPrefix(line, "#") {
			words = append(words, strings.Fields(line)...)
		}
	}
	return words
}

// authorise adds the credentials of the host that r goes to.
func (n *Netrc) authorise(r *http.Request) {
	if n == nil {
		return
	}
	if l, ok := n.machines[strings.ToLower(r.URL.Hostname())]; ok {
		r.SetBasicAuth(l.user, l.password)
	}
}
