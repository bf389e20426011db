package cmdline

import (
	"errors"
	"fmt"
	"testing"

	"ferry/internal/hostapi"
)

type someFailed bool // whether others are done

func (someFailed) Error() string    { return "some failed" }
func (s someFailed) SomeDone() bool { return bool(s) }

func TestExitCodeOfErrors(t *testing.T) {
	locked := &hostapi.Failure{Kind: hostapi.KindLocked}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitDone},
		{errors.New("x"), ExitFailed},
		{&UsageError{Err: locked}, ExitUsage},
		{someFailed(true), ExitSome},
		{someFailed(false), ExitFailed},
		{&hostapi.Failure{Kind: hostapi.KindLocked, RolledBack: true}, ExitRolledBack},
		{locked, ExitLocked},
		{hostapi.Refuse("no", ""), ExitFailed},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("web: %w", err)
		}
		if got := ExitCode(err); got != c.want {
			t.Errorf("%v: %d, wanted %d", c.err, got, c.want)
		}
	}
}

func TestErrorsAreExplained(t *testing.T) {
	failure := &hostapi.Failure{Message: "web is gone", Hint: "look", State: "nothing was changed", Log: []string{"why"}}
	if e := Explain(fmt.Errorf("web: %w", failure)); e.Message != "web is gone" || e.Hint != "look" || e.State != "nothing was changed" || len(e.Log) != 1 {
		t.Errorf("%+v", e)
	}
	if e := Explain(&UsageError{Err: errors.New("wrong"), Next: "like this"}); e.Message != "wrong" || e.Hint != "like this" || e.State != "" {
		t.Errorf("%+v", e)
	}
}
