// Package release builds ferry as users get it: static, and with the helpers for
// hosts inside. It must not know what the programs do.
package release
