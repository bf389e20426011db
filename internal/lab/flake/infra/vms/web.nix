{ site, ... }:
{
  networking.hostName = "web";
  networking.address = "10.23.0.51";

  microvm.mem = 512;
  microvm.vcpu = 1;
  microvm.shares = [{
    tag = "ro-store";
    source = "/nix/store";
    mountPoint = "/nix/.ro-store";
  }];
  microvm.interfaces = [{
    type = "tap";
    id = "vm-web";
    mac = "02:00:00:00:00:51";
  }];

  services.page.enable = true;
  services.page.text = "Hello";
  services.page.footer = builtins.readFile "${site}/footer.html";
}
