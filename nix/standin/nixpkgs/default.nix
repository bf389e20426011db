# As `import <nixpkgs> { system = …; overlays = [ … ]; }`.
{
  system ? builtins.currentSystem,
  overlays ? [ ],
  config ? { },
}:
let
  base = final: import ./pkgs.nix { inherit system final config; };
  extend = done: overlay: final: let prev = done final; in prev // overlay final prev;
  packages = builtins.foldl' extend base overlays packages;
in
packages
