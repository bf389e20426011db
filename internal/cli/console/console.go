// Package console has what the commands of one run share: their streams, how results
// and errors are printed, and the way to hosts. It must not know any command.
package console

import (
	"errors"
	"fmt"
	"io"

	"ferry/docs"
	"ferry/internal/cmdline"
	"ferry/internal/deploy"
	"ferry/internal/deploy/result"
	"ferry/internal/remembered"
	"ferry/internal/ui"
)

// Console is the operator's end of one run.
type Console struct {
	In  io.Reader
	UI  *ui.UI
	Out io.Writer
	Err io.Writer
}

// PrintError prints an error once: the end of the log that shows why, the
// message, how things are, and what to do next.
func (c *Console) PrintError(err error) {
	e := cmdline.Explain(err)
	var de *deploy.Error
	if errors.As(err, &de) && de.State != "" {
		e.State = string(de.VM) + ": " + de.State
	}
	e.Print(c.UI)
	if s, known := docs.Troubleshooting(string(e.See)); known { // a host may name any
		c.UI.More("ferry explain " + s.Name)
	}
}

// Problem prints an error of one of several subjects, where others go on.
func (c *Console) Problem(subject string, err error) {
	c.PrintError(fmt.Errorf("%s: %w", subject, err))
}

// ShowResult prints what a deployment did.
func (c *Console) ShowResult(result *result.Result, err error) error {
	if result == nil {
		return err
	}
	if c.UI.JSON {
		return errors.Join(err, c.UI.Data(result))
	}
	if err == nil {
		return c.UI.Text(result.Text())
	}
	return err
}

// Memory is what this machine remembers of the deployments that it began.
func Memory() remembered.Store { return remembered.Store{Dir: remembered.DefaultDir()} }
