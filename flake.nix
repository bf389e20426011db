{
  description = "Deploys NixOS MicroVMs over SSH, and live where it can";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      # Those that this nixpkgs still has.
      systems = builtins.filter (system: nixpkgs.legacyPackages ? ${system}) [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forAll =
        f:
        builtins.listToAttrs (
          map (name: {
            inherit name;
            value = f name nixpkgs.legacyPackages.${name};
          }) systems
        );
      ferryOf = pkgs: pkgs.callPackage ./nix/package.nix { build = import ./nix/build.nix self; };
      modules = {
        deploy = ./nix/modules/deploy.nix;
        host = ./nix/modules/host.nix;
      };
    in
    {
      packages = forAll (
        _: pkgs: rec {
          ferry = ferryOf pkgs;
          default = ferry;
        }
      );

      overlays.default = final: _: { ferry = ferryOf final; };

      devShells = forAll (
        system: pkgs: {
          default = pkgs.mkShell {
            packages = [
              self.packages.${system}.ferry.go
              pkgs.gnumake
              pkgs.git
            ];
          };
        }
      );

      formatter = forAll (_: pkgs: pkgs.nixfmt-tree);

      checks = forAll (
        system: pkgs: {
          package = self.packages.${system}.ferry;
          vendor-hash = self.packages.${system}.ferry.goModules;
          modules = import ./nix/check.nix {
            inherit pkgs;
            inherit (nixpkgs) lib;
          };
        }
      );

      nixosModules = builtins.mapAttrs (
        name: file: {
          _file = toString file;
          key = "ferry#${name}";
          imports = [ (import file { ferry = self; }) ];
        }
      ) modules;

      lib = import ./nix/lib.nix { ferry = self; };

    }
    // (
      if builtins.pathExists ./nix/template/flake.nix then
        {
          templates.default = {
            path = ./nix/template;
            description = "A host and a MicroVM on it, deployed with ferry";
          };
        }
      else
        { }
    );
}
