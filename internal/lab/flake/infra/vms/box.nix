{ site, packages, ... }:
{
  networking.hostName = "box";

  microvm.hypervisor = "process";
  microvm.mem = 512;
  microvm.vcpu = 1;
  microvm.shares = [{
    tag = "ro-store";
    source = "/nix/store";
    mountPoint = "/nix/.ro-store";
  }];

  services.page.enable = true;
  services.page.text = "Box";
  services.page.footer = builtins.readFile "${site}/footer.html";
  environment.systemPackages = [ (packages.package "hello" "1.0") ];
}
