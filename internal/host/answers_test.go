package host

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// Signs of life stand between the answers, from the beginning to the end.
func TestAnswersShowLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := NewAnswers(&out)
		stop := a.Live(15 * time.Second)
		time.Sleep(40 * time.Second) // a unit that takes long to stop
		a.Result("stopped")
		stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		alive := `{"event":"alive"}` + "\n"
		if want := alive + alive + alive + `{"event":"result","result":"stopped"}` + "\n"; out.String() != want {
			t.Errorf("got %s", out.String())
		}
	})
}
