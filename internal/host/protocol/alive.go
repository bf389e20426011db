package protocol

import (
	"bytes"
	"encoding/json"
	"time"

	"ferry/internal/hostapi"
)

// SignOfLife reads a line that may be one.
func SignOfLife(line []byte) (within time.Duration, ok bool) {
	if !bytes.HasPrefix(line, []byte(`{"alive":`)) {
		return 0, false
	}
	var req hostapi.Request
	if json.Unmarshal(line, &req) != nil || req.Alive == nil || req.Alive.Seconds < 1 {
		return 0, false
	}
	return time.Duration(min(req.Alive.Seconds, 24*60*60)) * time.Second, true
}

// Watch ends something unless it is fed in time. It is for one goroutine.
type Watch struct {
	timer *time.Timer
	End   func()
}

// Feed gives it that long from now.
func (w *Watch) Feed(within time.Duration) {
	w.Stop()
	w.timer = time.AfterFunc(within, w.End)
}

// Stop ends the watch.
func (w *Watch) Stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
