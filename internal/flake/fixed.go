package flake

// FixedInStore reports whether a reference names a path of the store, which
// never changes: a flake evaluated again from it yields what it did before.
func FixedInStore(ref string) bool { return inStore(ref) }
