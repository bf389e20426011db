package docs

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ferry/internal/deploy/result"
	"ferry/internal/hostapi"
)

// docs/json.md names every field of a result, and no other; its examples have
// only such fields.
func TestJSONFields(t *testing.T) {
	text := read(t, "docs/json.md")
	sameSet(t, "field", firstCells(t, text, "field"), jsonNames(reflect.TypeFor[result.Result]()))
	n := 0
	for _, b := range blocks(text) {
		if b.language != "json" {
			continue
		}
		n++
		var r result.Result
		dec := json.NewDecoder(strings.NewReader(strings.Join(b.lines, "\n")))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&r); err != nil {
			t.Errorf("docs/json.md:%d: %v", b.line, err)
		}
	}
	if n == 0 {
		t.Error("docs/json.md has no example")
	}
}

// What is always there, says docs/json.md, has no omitempty, and the reverse.
func TestJSONFieldsThatAreAlwaysThere(t *testing.T) {
	text := read(t, "docs/json.md")
	typ := reflect.TypeFor[result.Result]()
	for i := range typ.NumField() {
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		always := !strings.Contains(options, "omitempty")
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\|([^|]*)\\|").FindStringSubmatch(text)
		if row == nil || strings.Contains(row[1], "always") != always {
			t.Errorf("docs/json.md: is %s always there? The code says %v", name, always)
		}
	}
}

func TestOutcomes(t *testing.T) {
	sameSet(t, "outcome", firstCells(t, read(t, "docs/json.md"), "outcome"),
		constants(t, "internal/deploy/result/result.go", "Outcome", "Outcome"))
}

func TestProtocol(t *testing.T) {
	text := read(t, "docs/protocol.md")
	documented := append(firstCells(t, text, "request"), firstCells(t, text, "command")...)
	sameSet(t, "request", documented, hostapi.Kinds())
	sameSet(t, "event", firstCells(t, text, "event"), constants(t, "internal/hostapi/requests.go", "Event", "EventName"))
	sameSet(t, "kind", firstCells(t, text, "`kind`"), constants(t, "internal/hostapi/requests.go", "Kind", "FailureKind"))
}

// The commands' arguments and answers are those of the code.
func TestProtocolCommands(t *testing.T) {
	text := read(t, "docs/protocol.md")
	word := regexp.MustCompile("`([^`]+)`")
	for i := range reflect.TypeFor[hostapi.Commands]().NumField() {
		field := reflect.TypeFor[hostapi.Commands]().Field(i)
		name := jsonNames(reflect.TypeFor[hostapi.Commands]())[i]
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\|([^|]*)\\|([^|]*)\\|").FindStringSubmatch(text)
		if row == nil {
			t.Errorf("docs/protocol.md has no row for %s", name)
			continue
		}
		var arguments []string
		for _, m := range word.FindAllStringSubmatch(row[1], -1) {
			arguments = append(arguments, m[1])
		}
		sameSet(t, "argument of "+name, arguments, jsonNames(field.Type.Elem()))
		for _, m := range word.FindAllStringSubmatch(row[2], -1) {
			if !declared(t, "internal/hostapi", m[1]) {
				t.Errorf("docs/protocol.md: %s answers with %s, which is not in internal/hostapi", name, m[1])
			}
		}
	}
}

// declared reports whether a package has a type of this name.
func declared(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no files: %v", dir, err)
	}
	found := false
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			found = found || ok && spec.Name.Name == name
			return !found
		})
	}
	return found
}

// The exit codes of the README are those of the code, and the help names them.
func TestExitCodes(t *testing.T) {
	codes := constants(t, "internal/cmdline/exit.go", "Exit", "")
	sameSet(t, "exit code", firstCells(t, read(t, "README.md"), "exit code"), codes)
	help := constants(t, "internal/cmdline/exit.go", "ExitCodes", "")
	if len(help) != 1 {
		t.Fatalf("the help's exit codes: %q", help)
	}
	for _, code := range codes {
		if !regexp.MustCompile(`(^|\D)` + code + ` [a-z]`).MatchString(help[0]) {
			t.Errorf("the help does not name exit code %s: %s", code, help[0])
		}
	}
}

func jsonNames(typ reflect.Type) []string {
	var names []string
	for i := range typ.NumField() {
		if field := typ.Field(i); field.Anonymous {
			names = append(names, jsonNames(field.Type)...)
			continue
		}
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// constants returns the values of a file's constants whose names begin with
// prefix: those of the named type, or where typ is empty integers, or the one
// whose whole name is prefix.
func constants(t *testing.T, file, prefix, typ string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		named, _ := spec.Type.(*ast.Ident)
		switch {
		case typ != "" && (named == nil || named.Name != typ):
		case typ == "" && spec.Names[0].Name != prefix && lit.Kind != token.INT:
		case lit.Kind == token.STRING:
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, s)
		default:
			values = append(values, lit.Value)
		}
		return true
	})
	return values
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingPattern = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	filePattern    = regexp.MustCompile("`((?:cmd|internal|test|docs)/[A-Za-z0-9_./-]+)`((?:,? `[a-zA-Z]+`)*)")
)

// Links between the documents lead somewhere, their anchors too.
func TestLinks(t *testing.T) {
	n := 0
	for _, name := range documents(t) {
		for _, m := range linkPattern.FindAllStringSubmatch(prose(read(t, name)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if anchor != "" && !hasAnchor(read(t, target), anchor) {
				t.Errorf("%s links to %s, but %s has no such heading", name, m[1], target)
			}
		}
	}
	if n == 0 {
		t.Error("no links found")
	}
}

// hasAnchor knows the anchors of GitHub: lower case, spaces to dashes, other
// punctuation gone.
func hasAnchor(text, anchor string) bool {
	for _, m := range headingPattern.FindAllStringSubmatch(prose(text), -1) {
		slug := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(slug, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// Files that are named exist, and functions named right behind them are in them.
func TestNamedCode(t *testing.T) {
	n := 0
	for _, name := range documents(t) {
		for _, m := range filePattern.FindAllStringSubmatch(prose(read(t, name)), -1) {
			n++
			content, err := os.ReadFile(filepath.Join(root, m[1]))
			if err != nil {
				if fi, serr := os.Stat(filepath.Join(root, m[1])); serr != nil || !fi.IsDir() {
					t.Errorf("%s names %s: %v", name, m[1], err)
				}
				continue
			}
			for _, f := range codePattern.FindAllStringSubmatch(m[2], -1) {
				if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + f[1] + `\(`).Match(content) {
					t.Errorf("%s: %s has no function %s", name, m[1], f[1])
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d files are named", n)
	}
}

// docs/architecture.md lists all packages of ferry.
func TestPackagesAreListed(t *testing.T) {
	listed := firstCells(t, read(t, "docs/architecture.md"), "package")
	packages := []string{"docs"}
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		files, err := filepath.Glob(filepath.Join(path, "*.go"))
		if len(files) > 0 {
			rel, rerr := filepath.Rel(root, path)
			if rerr != nil {
				return rerr
			}
			packages = append(packages, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sameSet(t, "package", listed, append(packages, "cmd/ferry", "cmd/ferry-helper", "cmd/docs"))
}
