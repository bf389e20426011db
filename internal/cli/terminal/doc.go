// Package terminal asks the operator on the controlling terminal: passwords, and
// whether something may be done. It must not know what the answer is for.
package terminal
