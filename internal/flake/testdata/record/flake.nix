# Configurations of every shape that ferry must read, without nixpkgs.
{
  inputs.dep = { url = "path:@DEP@"; flake = false; };

  outputs = { self, dep }:
    let
      drv = name: extra: derivation ({
        inherit name;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" "echo ${name} > $out" ];
      } // extra);
      greeting = builtins.readFile (dep + "/greeting");
    in
    {
      # `nix eval .#ferry` would find this one.
      packages.x86_64-linux.ferry = throw "shadowed by a package";

      ferry = {
        hosts.server1.address = "root@server1.example.com";
        vms.full = { host = "server1"; target = "root@full.example.com"; };
      };

      nixosConfigurations = {
        full.config = {
          networking.hostName = "full-host";
          services.openssh.enable = true;
          system.switch = {
            enable = true;
            inhibitors = { dbus-implementation = "dbus"; systemd = "${drv "systemd-257" { }}"; count = 5; broken = throw "inhibitor"; };
          };
          system.build.toplevel = drv "nixos-system-full" { inherit greeting; };
          microvm = {
            declaredRunner = drv "microvm-qemu-full" { toplevel = "${self.nixosConfigurations.full.config.system.build.toplevel}"; };
            hypervisor = "qemu";
            mem = 512;
            vcpu = 2;
            volumes = [
              { image = "var.img"; mountPoint = "/var"; size = 256; }
              { image = "unsized.img"; mountPoint = null; size = throw "used but not defined"; }
            ];
            shares = [{ tag = "ro-store"; proto = "virtiofs"; source = "/nix/store"; mountPoint = "/nix/.ro-store"; }];
            interfaces = [{ id = "vm-full"; type = "tap"; mac = "02:00:00:00:00:01"; macvtap = throw "used but not defined"; }];
            kernel = drv "linux-6.12" { };
            initrdPath = "${drv "initrd" { }}/initrd";
            vsock.cid = 7;
            credentialFiles = { KEY = "/run/key"; TOKEN = throw "a path that is not needed"; };
            extraArgsScript = "/etc/args";
          };
        };

        minimal.config.microvm.declaredRunner = drv "third-party-runner" { };

        # Right names, wrong types; and a system that cannot be evaluated.
        odd.config = {
          networking.hostName = 5;
          services = "none";
          system.switch = { enable = "yes"; inhibitors = [ "/nix/store/systemd" ]; };
          system.build.toplevel = throw "Failed assertions: no root file system";
          microvm = {
            declaredRunner = (drv "odd-runner" { }) // { type = "something"; meta = throw "meta"; };
            hypervisor = null;
            mem = "512M";
            vcpu = 1.5;
            volumes = { };
            shares = [ "/nix/store" { tag = "t"; proto = "9p"; source = "/srv"; } ];
            interfaces = throw "interfaces";
            kernel = "vmlinuz";
            initrdPath = throw "no initrd";
            vsock = null;
            credentialFiles = throw "no files";
            extraArgsScript = throw "no script";
          };
        };

        floating.config.microvm.declaredRunner = drv "floating-runner" {
          __contentAddressed = true;
          outputHashMode = "recursive";
          outputHashAlgo = "sha256";
        };

        failing.config.microvm.declaredRunner = drv "outer" {
          needs = drv "inner" { args = [ "-c" "for i in 1 2 3; do echo working $i; done; echo it broke >&2; exit 3" ]; };
        };

        noRunner.config.networking.hostName = "laptop";
        noConfig = { };
        notADerivation.config.microvm.declaredRunner = "/run/current-system/bin/microvm-run";
        devOutput.config.microvm.declaredRunner =
          let d = drv "two" { outputs = [ "out" "dev" ]; }; in d.dev;
        throwing = throw "somebody else's broken configuration";
        throwingRunner.config.microvm.declaredRunner = throw "the runner does not evaluate";
      };
    };
}
