# A MicroVM that serves one page.
{ pkgs, ... }:
{
  nixpkgs.hostPlatform = "x86_64-linux";
  networking.hostName = "web";
  system.stateVersion = "26.05";

  microvm = {
    hypervisor = "qemu";
    mem = 512;
    vcpu = 1;
    # The host's store: what a live switch needs, besides sshd.
    shares = [{
      tag = "ro-store";
      proto = "virtiofs";
      source = "/nix/store";
      mountPoint = "/nix/.ro-store";
    }];
    volumes = [{
      image = "var.img";
      mountPoint = "/var";
      size = 1024; # MiB
    }];
    interfaces = [{
      type = "tap";
      id = "vm-web"; # the name of the host's interface
      mac = "02:00:00:00:00:02";
    }];
  };

  networking.useNetworkd = true;
  systemd.network.networks."10-lan" = {
    matchConfig.MACAddress = "02:00:00:00:00:02";
    address = [ "10.0.0.2/24" ];
    gateway = [ "10.0.0.1" ];
  };

  services.openssh = {
    enable = true;
    # On the volume: a new key at each boot would be refused.
    hostKeys = [{ type = "ed25519"; path = "/var/lib/ssh/ssh_host_ed25519_key"; }];
  };
  # The key that you log in with.
  users.users.root.openssh.authorizedKeys.keys = [ ];

  services.nginx = {
    enable = true;
    virtualHosts.default.root = pkgs.writeTextDir "index.html" "Hello\n";
  };
  networking.firewall.allowedTCPPorts = [ 80 ];
}
