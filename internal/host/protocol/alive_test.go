package protocol

import "testing"

func TestWhatIsNoSignOfLife(t *testing.T) {
	for _, line := range []string{"", "{}", `{"alive":{}}`, `{"alive":{"seconds":0}}`, `{"alive":{"seconds":-1}}`, `{"alive":1}`, `{"alive":`} {
		if within, ok := SignOfLife([]byte(line)); ok {
			t.Errorf("%s is one, for %s", line, within)
		}
	}
	if within, ok := SignOfLife([]byte(`{"alive":{"seconds":9223372036854775807}}`)); !ok || within <= 0 {
		t.Errorf("a long one: %s, %v", within, ok)
	}
}
