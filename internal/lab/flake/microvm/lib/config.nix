# The configuration of one VM: defaults, overridden by `options`.
{ packages, options }:
let
  isPlainSet = v: builtins.isAttrs v && !(v ? drvPath);
  merge = a: b: a // builtins.mapAttrs
    (name: v: if isPlainSet v && isPlainSet (a.${name} or null) then merge a.${name} v else v)
    b;

  hostName = final.networking.hostName;

  defaults = {
    networking = { hostName = "nixos"; address = null; };
    services.openssh.enable = true;
    # A web page on port 80.
    services.page = { enable = false; text = "Hello"; footer = ""; };
    system = { switch = { enable = true; inhibitors = { }; }; nixos.version = "25.11.lab"; };
    nix = { enable = true; package = packages.nix; };
    boot.kernelParams = [
      "loglevel=4" "quiet" "lsm=landlock,yama" "net.ifnames=0"
      # Faster under emulation.
      "mitigations=off" "random.trust_cpu=on" "nowatchdog" "audit=0" "systemd.show_status=0"
    ];
    environment.systemPackages = [ ];
    # For tests of what goes wrong.
    lab = {
      buildFails = false; # building the system fails, after 40 lines of log
      failingUnit = false; # switch-to-configuration ends with status 4
      failingActivation = false; # … with status 2, and changes no unit
      activation = ""; # shell lines that a switch, not a boot, ends its activation with
      switchSleep = 0; # seconds that a switch takes longer
      note = ""; # any text: another one is another system, and restarts nothing
      shutdownSleep = 0; # seconds that a process runner takes to shut down
    };
    microvm = {
      guest.enable = true;
      hypervisor = "qemu";
      mem = 512;
      vcpu = 1;
      balloon = false;
      preStart = "";
      socket = "${hostName}.sock";
      user = null;
      cpu = "max";
      volumes = [ ];
      shares = [ ];
      interfaces = [ ];
      devices = [ ];
      forwardPorts = [ ];
      vsock.cid = null;
      storeOnDisk = !(builtins.any (s: s.source == "/nix/store") final.microvm.shares);
      writableStoreOverlay = null;
      registerClosure = true;
      registerWithMachined = false;
      systemSymlink = true;
      stateDir = "/var/lib/microvms";
      kernel = packages.kernel;
      initrdPath = "${packages.initrd}/initrd";
      qemu = { package = packages.qemu; machine = "q35"; extraArgs = [ ]; serialConsole = true; };
      binScripts = { };
    };
  };

  share = s: {
    socket = if (s.proto or "9p") == "virtiofs" then "${hostName}-virtiofs-${s.tag}.sock" else null;
    proto = "9p";
    securityModel = "none";
    readOnly = false;
    cache = "auto";
  } // s;

  # A guest boots Debian's userland, which every host of the lab offers. Only
  # guests with a kernel have it.
  debianShare = {
    tag = "debian";
    source = "/srv/debian";
    mountPoint = "/";
    readOnly = true;
  };

  final = merge (merge defaults options) {
    microvm =
      let
        given = merge defaults.microvm (options.microvm or { });
        closureInfo = packages.closureInfo [ final.system.build.toplevel ];
        store = builtins.filter (s: s.source == "/nix/store") final.microvm.shares;
      in
      {
        shares = map share (given.shares ++ (if given.hypervisor == "qemu" then [ debianShare ] else [ ]));
        kernelParams = final.boot.kernelParams
          ++ (if store == [ ] then [ ] else [ "lab.store=${(builtins.head store).proto}" ])
          ++ [ "init=${final.system.build.toplevel}/init" ]
          ++ (if final.microvm.registerClosure then [ "regInfo=${closureInfo}/registration" ] else [ ]);
        declaredRunner = options.microvm.declaredRunner or final.microvm.runner.${final.microvm.hypervisor};
        runner = builtins.listToAttrs (map
          (hypervisor: {
            name = hypervisor;
            value = import ./runner.nix { inherit packages hypervisor; config = final; };
          })
          [ "qemu" "process" ]);
      };
    system.build = {
      toplevel = import ./toplevel.nix { inherit packages; config = final; };
      initialRamdisk = packages.initrd;
      kernel = packages.kernel;
    };
    system.boot.loader = { kernelFile = "bzImage"; initrdFile = "initrd"; };
  };
in
final
