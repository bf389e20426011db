package host

import (
	"bytes"
	"encoding/json"
	"time"

	"ferry/internal/hostapi"
)

// signOfLife reads a line that may be one.
func signOfLife(line []byte) (within time.Duration, ok bool) {
	if !bytes.HasPrefix(line, []byte(`{"alive":`)) {
		return 0, false
	}
	var req hostapi.Request
	if json.Unmarshal(line, &req) != nil || req.Alive == nil || req.Alive.Seconds < 1 {
		return 0, false
	}
	return time.Duration(min(req.Alive.Seconds, 24*60*60)) * time.Second, true
}

// watch ends something unless it is fed in time. It is for one goroutine.
type watch struct {
	timer *time.Timer
	end   func()
}

func (w *watch) feed(within time.Duration) {
	w.stop()
	w.timer = time.AfterFunc(within, w.end)
}

func (w *watch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
