# Imported twice by modules-lib.nix.
{ lib, ... }:
{
  options.list = lib.mkOption { type = lib.types.listOf lib.types.int; };
  config.list = [ 1 ];
}
