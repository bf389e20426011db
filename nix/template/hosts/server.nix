# What a NixOS server needs to run the MicroVMs: a bridge that they join.
{ ... }:
{
  ferry.host.enable = true;

  # All of the server's network is systemd-networkd's then.
  networking.useNetworkd = true;
  systemd.network = {
    netdevs."20-microvms".netdevConfig = { Kind = "bridge"; Name = "microvms"; };
    networks."20-microvms" = {
      matchConfig.Name = "microvms";
      address = [ "10.0.0.1/24" ];
      networkConfig.ConfigureWithoutCarrier = true;
      # Without a VM it has no carrier; the host's boot doesn't wait for one.
      linkConfig.RequiredForOnline = "no";
    };
    networks."21-microvms" = {
      matchConfig.Name = "vm-*";
      networkConfig.Bridge = "microvms";
      linkConfig.RequiredForOnline = "no";
    };
  };
}
