{
  networking.hostName = "nosshd";
  services.openssh.enable = false;

  microvm.hypervisor = "process";
  microvm.shares = [{ tag = "ro-store"; source = "/nix/store"; mountPoint = "/nix/.ro-store"; }];
}
