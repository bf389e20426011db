// Package fetch gets small documents over HTTP: bounded in size and time, tried
// again where that can help, and never led to another origin than the one that
// was asked. It knows nothing of what the documents mean.
package fetch
