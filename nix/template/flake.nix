{
  description = "MicroVMs, deployed with ferry";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    microvm.url = "github:microvm-nix/microvm.nix";
    microvm.inputs.nixpkgs.follows = "nixpkgs";
    # Where you have ferry from.
    ferry.url = "git+file:///path/to/ferry";
    ferry.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs = { self, nixpkgs, microvm, ferry }: {
    # One entry for each MicroVM.
    nixosConfigurations.web = nixpkgs.lib.nixosSystem {
      modules = [
        microvm.nixosModules.microvm
        ferry.nixosModules.deploy
        ./vms/web.nix
      ];
    };

    # Only where the server is NixOS: import this module into its configuration.
    nixosModules.server = {
      imports = [
        microvm.nixosModules.host
        ferry.nixosModules.host
        ./hosts/server.nix
      ];
    };

    # Where they run, and how they are reached.
    ferry = {
      hosts.server = { address = "root@server.example.com"; };
      vms.web = { host = "server"; target = "root@10.0.0.2"; };
    };

    # nix run .#microvm-update-web
    apps = ferry.lib.apps { inherit self; };
  };
}
