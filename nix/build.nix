# What a build of ferry says of itself, from what Nix knows of the flake: `self`
# has `rev` where it is a commit, `dirtyRev` where there are changes on top of it,
# and neither where it comes from a directory or an archive without a history.
self:
let
  dirty = self ? dirtyRev;
  # Such as 3146ebc8d6af00112233445566778899aabbccdd-dirty.
  commit =
    if dirty then builtins.head (builtins.split "-" self.dirtyRev) else self.rev or "";
  at = n: length: builtins.substring n length self.lastModifiedDate;
in
{
  inherit commit;
  # No release has been made of a flake: its commit says which one it is.
  version = "0-unstable" + (if commit == "" then "" else "-${at 0 4}-${at 4 2}-${at 6 2}");
  modified = dirty;
  # A directory's files can be of any time: no date without a commit.
  date =
    if commit == "" then
      ""
    else
      "${at 0 4}-${at 4 2}-${at 6 2}T${at 8 2}:${at 10 2}:${at 12 2}Z";
}
