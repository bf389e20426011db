package host

import (
	"path/filepath"
	"testing"

	"ferry/internal/host/hosttest"
	"ferry/internal/host/manage"
	"ferry/internal/hostapi"
)

const web = hosttest.Web

// testHost is a host in a directory with the sessions on it.
type testHost struct{ *hosttest.Host }

func newTestHost(t *testing.T) *testHost {
	t.Helper()
	return &testHost{hosttest.New(t)}
}

func (h *testHost) server() *Server { return newServer(h.Layout, h.Units, h.Nix) }

// machine is what commands work with besides deployments.
func (h *testHost) machine() *manage.Machine {
	srv := h.server()
	return srv.manage()
}

// lib is where ferry's notes on web are.
func (h *testHost) lib() string { return filepath.Dir(h.Layout.VM(web).Notes().Path()) }

// twoGenerations is a host with web at generation 2 of 2, booted.
func twoGenerations(t *testing.T) *testHost {
	t.Helper()
	h := newTestHost(t)
	h.MakeRunner(hosttest.RunnerA, hosttest.SystemA, "-m 512M")
	h.MakeRunner(hosttest.RunnerB, hosttest.SystemB, "-m 768M")
	h.deploy(hosttest.RunnerA, hostapi.ActivateStart)
	h.deploy(hosttest.RunnerB, hostapi.ActivateRestart)
	return h
}

func quiet(string) {}
