rec {
  packages = import ./packages.nix;

  # What nixpkgs' `lib.nixosSystem` is to a user of microvm.nix. `module` is an
  # attribute set of options, or a function to one that gets `inputs`.
  microvmSystem = { module, inputs ? { } }:
    let
      given = if builtins.isPath module then import module else module;
      options = if builtins.isFunction given then given (inputs // { inherit packages; }) else given;
      config = import ./config.nix { inherit packages options; };
    in
    {
      inherit config;
      options = { };
      pkgs = packages // { system = "x86_64-linux"; };
    };

  # A configuration without MicroVM: an ordinary NixOS machine.
  nixosSystem = { module, inputs ? { } }:
    let whole = microvmSystem { inherit module inputs; };
    in whole // { config = removeAttrs whole.config [ "microvm" ]; };
}
