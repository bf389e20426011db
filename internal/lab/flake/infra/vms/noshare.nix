{
  networking.hostName = "noshare";
  microvm.hypervisor = "process";
  microvm.shares = [
    { tag = "ro-store"; source = "/nix/store"; mountPoint = "/nix/.ro-store"; }
    { tag = "photos"; source = "/srv/photos"; mountPoint = "/photos"; }
  ];
}
