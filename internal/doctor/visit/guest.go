package visit

import (
	"context"
	"fmt"
	"time"

	"ferry/internal/doctor"
	"ferry/internal/guest"
	"ferry/internal/hostapi"
)

// Guest looks at the system inside a VM. vm is its name, empty where that is not known;
// host is what was found on its host, nil where nothing was.
func (v *Visit) Guest(ctx context.Context, m Machine, vm string, host *hostapi.Examined) []doctor.Finding {
	m.Where = doctor.Guest
	e := v.enter(ctx, m)
	defer e.close()
	if !ran(e) {
		why := whyNot(e.found)
		return rest(m, doctor.Excuse(e.found, e.err, host, vm), why)
	}
	f := doctor.GuestFacts{Machine: m.Name, VM: vm, Host: host}
	if host != nil {
		f.Probe = host.Newest
	}
	within, cancel := context.WithTimeout(ctx, max(lookLimit, v.Limit))
	defer cancel()
	var err error
	f.Asked = time.Now()
	f.Examined, err = guest.Examine(within, e.conn, f.Probe.Path)
	f.Answered = time.Now()
	if err != nil {
		if within.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("it has not answered within %s", max(lookLimit, v.Limit))
		}
		e.found = append(e.found, doctor.JudgeAnswer(m.Name, err)...)
		return rest(m, e.found, "the guest has not answered")
	}
	return rest(m, append(e.found, doctor.JudgeGuest(f)...), "the guest does not say")
}

// ran: commands run there, which is all that looking at a guest takes.
func ran(e *entered) bool { return e.login.Began && e.login.UID != "" }
