package update

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"ferry/internal/fetch"
)

func TestOnce(t *testing.T) {
	var asked atomic.Int32
	status := http.StatusNotImplemented // one that is not tried again
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(status)
	}))
	defer s.Close()
	source := func() Source {
		f, err := NewFile(s.URL+"/built.json", &fetch.Client{AllowHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		asked.Store(0)
		return Once(f)
	}
	twice := func(src Source) (first, second error) {
		_, first = src.Latest(t.Context(), "web")
		_, second = src.Latest(t.Context(), "db")
		return first, second
	}
	src := source()
	if first, second := twice(src); first == nil || !errors.Is(second, first) || asked.Load() != 1 {
		t.Errorf("%v, %v, asked %d times", first, second, asked.Load())
	}
	// A 404 may be one VM's.
	status = http.StatusNotFound
	if first, second := twice(source()); first == nil || second == nil || asked.Load() != 2 {
		t.Errorf("%v, %v, asked %d times", first, second, asked.Load())
	}
}
