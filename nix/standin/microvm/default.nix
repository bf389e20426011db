{
  nixosModules.microvm = ./microvm.nix;
}
