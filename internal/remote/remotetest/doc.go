// Package remotetest is a real sshd on this machine, and a fake sudo, for tests of
// what goes over ssh. It must not know what is tested. Both need the build tag lab.
package remotetest
