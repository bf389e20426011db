{
  description = "The lab's virtual machines";

  inputs = {
    microvm.url = "git+file:///root/microvm.nix";
    site = { url = "path:/root/site"; flake = false; };
  };

  outputs = { self, microvm, site }:
    let
      vm = module: microvm.lib.microvmSystem { inherit module; inputs = { inherit site; }; };
    in
    {
      nixosConfigurations = {
        # Real guests: store over 9p, store over virtiofs.
        web = vm ./vms/web.nix;
        files = vm ./vms/files.nix;
        # Its guest is the lab's container guest1.
        box = vm ./vms/box.nix;
        # Nothing inside, restart only.
        cron = vm ./vms/cron.nix;
        queue = vm ./vms/queue.nix;

        # What users get wrong, and what others do differently.
        thirdparty.config.microvm.declaredRunner = (vm ./vms/thirdparty.nix).config.microvm.declaredRunner;
        norunner = microvm.lib.nixosSystem { module = { networking.hostName = "norunner"; }; };
        broken = vm ./vms/broken.nix;
        nobuild = vm ./vms/nobuild.nix;
        misnamed = vm ./vms/misnamed.nix;
        noshare = vm ./vms/noshare.nix;
        nosshd = vm ./vms/nosshd.nix;
      };

      ferry = {
        hosts.host1 = { address = "root@host1"; };
        hosts.host2 = { address = "root@host2"; };
        vms.web = { host = "host1"; target = "root@web"; };
        vms.files = { host = "host1"; target = "root@files"; };
        vms.box = { host = "host1"; target = "root@box"; };
        vms.cron = { host = "host1"; };
        vms.queue = { host = "host1"; };
      };
    };
}
