// Package completion is what the Tab key offers behind `ferry`: which words fit
// where, and the names in the user's flake, fast and without a side effect. It owns
// the cache of those names and when it is renewed. It must not know what the
// commands do, or how a flake is evaluated.
package completion
