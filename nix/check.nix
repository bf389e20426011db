# The tests of the modules as a check of the flake, with its nixpkgs' `lib`. They
# need no package set: they only evaluate. Those of ./tests/deploy.nix are not among them:
# they read derivations, which flakes may not.
{ pkgs, lib }:
let
  results = builtins.concatMap (file: import file { inherit lib; }) [
    ./tests/modules-lib.nix
    ./tests/host.nix
  ];
  failed = builtins.filter (result: !result.ok) results;
in
if failed == [ ] then
  pkgs.runCommand "ferry-modules-tests" { } "echo ${toString (builtins.length results)} >$out"
else
  throw "tests of ferry's modules failed: ${lib.concatMapStringsSep "; " (result: result.name) failed}"
