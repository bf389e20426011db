{
  description = "Stands in for nixpkgs where that can't be had: what ferry's flake and modules use of it, made of Debian's programs";

  outputs =
    { self }:
    {
      lib = (import ./default.nix { system = "x86_64-linux"; }).lib;
      legacyPackages = builtins.listToAttrs (
        map
          (system: {
            name = system;
            value = import ./default.nix { inherit system; };
          })
          [
            "x86_64-linux"
            "aarch64-linux"
            "x86_64-darwin"
            "aarch64-darwin"
          ]
      );
    };
}
