// Package unfinished ends deployments that their sessions have left unfinished: it
// carries out what internal/host/settle judges, or has the program do it that wrote a
// note which this one does not understand. It must not know sessions, nor who watches
// over a deployment.
package unfinished
