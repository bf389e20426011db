# Until ./lib is there.
rec {
  hasPrefix = p: s: builtins.substring 0 (builtins.stringLength p) s == p;
  hasSuffix =
    x: s:
    let
      n = builtins.stringLength s - builtins.stringLength x;
    in
    n >= 0 && builtins.substring n (builtins.stringLength s) s == x;
  removePrefix =
    p: s:
    if hasPrefix p s then
      builtins.substring (builtins.stringLength p) (builtins.stringLength s) s
    else
      s;
  optional = c: x: if c then [ x ] else [ ];
  optionalString = c: s: if c then s else "";
  concatStringsSep = builtins.concatStringsSep;
  versionAtLeast = a: b: builtins.compareVersions a b >= 0;
  licenses.mit.spdxId = "MIT";
}
