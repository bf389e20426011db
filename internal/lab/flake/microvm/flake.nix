{
  description = "Stands in for microvm.nix and nixpkgs: the same attributes and the same shape of runner, made of Debian's programs";

  outputs = { self }: {
    lib = import ./lib;
  };
}
