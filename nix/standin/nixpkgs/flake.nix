{
  description = "Stands in for nixpkgs where that can't be had: what ferry's flake and modules use of it, made of Debian's programs";

  outputs =
    { self }:
    let
      lib = import ./lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      pkgsFor = system: import ./. { inherit system; };
    in
    {
      lib = lib // {
        nixosSystem = import ./nixos.nix { inherit lib pkgsFor; };
      };
      legacyPackages = lib.genAttrs systems pkgsFor;
    };
}
