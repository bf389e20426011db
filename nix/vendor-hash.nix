# Written by `make vendor-hash`. The folder depends on the modules, on which of
# their packages are imported, and a little on Go.
{
  # The Go whose `go mod vendor` has made the folder.
  go = "1.26.8";

  # What Nix calls the folder: SHA-256 of its NAR.
  hash = "sha256-OQnDu8G5VRs9DnUZX91Ta0hpFRg6c+gR1zx30wms3C0=";

  # SHA-256 of go.mod with go.sum after it, when that was computed.
  sums = "4cdf51845cd84618f5ed47a980cbb82c4f9768c347440ed12682c1f7d61e9b01";
}
