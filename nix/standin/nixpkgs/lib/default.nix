# A stand-in of nixpkgs' `lib` for tests where nixpkgs can't be had: written from
# its documentation, with what ferry's modules use and no more. What it does that
# a module can see, nixpkgs' own does, too: ../../../tests/modules-lib.nix gives
# the same results with both.
let
  lib =
    import ./functions.nix
    // import ./options.nix { inherit lib; }
    // import ./properties.nix { inherit lib; }
    // import ./modules.nix { inherit lib; }
    // {
      types = import ./types.nix { inherit lib; };
      inherit (lib.types) isOptionType mkOptionType;
    };
in
lib
