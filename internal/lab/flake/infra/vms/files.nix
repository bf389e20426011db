{
  networking.hostName = "files";
  networking.address = "10.23.0.52";

  microvm.mem = 512;
  microvm.vcpu = 1;
  microvm.shares = [{
    proto = "virtiofs";
    tag = "ro-store";
    source = "/nix/store";
    mountPoint = "/nix/.ro-store";
  }];
  microvm.interfaces = [{
    type = "tap";
    id = "vm-files";
    mac = "02:00:00:00:00:52";
  }];

  services.page.enable = true;
  services.page.text = "Files";
}
