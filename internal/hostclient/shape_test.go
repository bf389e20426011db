package hostclient

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"ferry/internal/hostapi"
)

// requests are one of each kind that there is.
func requests(t *testing.T) map[string]hostapi.Request {
	t.Helper()
	all := map[string]hostapi.Request{}
	for _, kind := range hostapi.Kinds() {
		var r hostapi.Request
		if err := json.Unmarshal([]byte(`{"`+kind+`":{}}`), &r); err != nil || len(r.Kinds()) != 1 {
			t.Fatalf("%s: %v, %v", kind, r.Kinds(), err)
		}
		all[kind] = r
	}
	return all
}

// Whatever is asked of a host that is somebody else's: its answer has a bounded
// number of values, of a bounded depth and length, and what it says of a failure is
// no longer than it helps.
func TestAnswersOfEachKindAreBounded(t *testing.T) {
	const few = 1000
	many := "[" + strings.Repeat("1,", few) + "1]"
	deep := strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)
	long := `"` + strings.Repeat("x", maxText+1) + `"`
	for kind, req := range requests(t) {
		for answer, says := range map[string]string{
			`"result":` + many:                    "sends an answer of more than 1000 values",
			`"result":{"a":{"b":` + many + `}}`:   "sends an answer of more than 1000 values",
			`"result":` + deep:                    "sends an answer that is more than 64 deep",
			`"result":{"message":[` + long + `]}`: "sends a text of more than 1 MiB",
		} {
			s, _ := talk(`{"event":"result","id":1,`+answer+"}\n", limits{values: few})
			var into any
			err := s.Call(t.Context(), req, &into)
			if err == nil || !strings.Contains(err.Error(), says) || !s.Closed() || into != nil {
				t.Errorf("%s: wanted %q, got %v", kind, says, err)
			}
		}
		item := `{"event":"item","id":1,"item":` + many + "}\n"
		s, _ := talk(item, limits{values: few})
		if err := s.Stream(t.Context(), req, Items{Each: func(json.RawMessage) error { return nil }}, nil); err == nil || !strings.Contains(err.Error(), "more than 1000 values") {
			t.Errorf("%s: an item: %v", kind, err)
		}
		s, _ = talk(`{"event":"item","id":1,"item":1}`+"\n", limits{})
		if err := s.Call(t.Context(), req, nil); err == nil || !strings.Contains(err.Error(), "a part of an answer that has none") {
			t.Errorf("%s: an item that nobody expects: %v", kind, err)
		}

		failure, _ := json.Marshal(hostapi.Failure{
			Kind: hostapi.KindFailed, Message: strings.Repeat("é", 1<<16), Hint: strings.Repeat("h", 1<<16), State: strings.Repeat("s", 1<<16),
			Log: strings.Split(strings.Repeat("line,", 10_000), ","),
		})
		s, _ = talk(`{"event":"error","id":1,"error":`+string(failure)+"}\n", limits{})
		var f *hostapi.Failure
		if err := s.Call(t.Context(), req, nil); !errors.As(err, &f) {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if b, _ := json.Marshal(f); len(b) > 128<<10 || len(f.Log) > 200 || !strings.HasSuffix(f.Message, "é…") {
			t.Errorf("%s: a failure of %d bytes, %d lines", kind, len(b), len(f.Log))
		}

		out := &repeated{text: `{"event":"log","id":1,"source":"nix","line":"` + strings.Repeat("x", 1000) + "\"}\n"}
		s = newSession(peer(nopCloser{io.Discard}, out), nil, limits{chatter: 64 << 10, work: 128 << 10})
		if err := s.Call(t.Context(), req, nil); err == nil || !strings.Contains(err.Error(), "that nobody asked for") {
			t.Errorf("%s: a log without end: %v", kind, err)
		}
		out.end()
	}
}

// What is no longer than an answer may be is taken as it is.
func TestLargeAnswersAreTaken(t *testing.T) {
	paths := make([]string, 50_000)
	if maxValues < len(paths) {
		t.Error("a closure may have more paths than an answer values")
	}
	for i := range paths {
		paths[i] = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x"
	}
	b, _ := json.Marshal(paths)
	s, _ := talk(`{"event":"result","id":1,"result":`+string(b)+"}\n", limits{})
	var got []string
	if err := s.Call(t.Context(), probe(), &got); err != nil || !reflect.DeepEqual(got, paths) {
		t.Errorf("%d of %d, %v", len(got), len(paths), err)
	}
	f := &hostapi.Failure{Kind: hostapi.KindBuild, Message: "no", Hint: "h", Log: []string{"a", "b"}, State: "s", RolledBack: true}
	if got := f.Bounded(); !reflect.DeepEqual(got, f) || (*hostapi.Failure)(nil).Bounded() != nil {
		t.Errorf("%+v", got)
	}
}
