# ferry on a NixOS host of MicroVMs, beside microvm.nix's own host module.
# docs/nix.md says what of this has run where.
{ ferry }:
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  cfg = config.ferry.host;
  stateDir = config.microvm.stateDir or "/var/lib/microvms";
  program = "${cfg.package}/bin/ferry";

  # microvm.nix's units that come before a VM's own.
  beforeVMs = [
    "microvm-set-booted@"
    "microvm-tap-interfaces@"
    "microvm-macvtap-interfaces@"
    "microvm-pci-devices@"
    "microvm-virtiofsd@"
  ];
  afterSettling = {
    after = [ "ferry-settle.service" ];
  };
in
{
  imports = [
    ./host-timers.nix
    ./protect-state-dir.nix
  ];

  options.ferry.host = {
    enable = lib.mkEnableOption "what ferry needs and offers on a host of MicroVMs: its program, the settling of interrupted deployments at boot, and the timers below";

    package = mkOption {
      type = types.package;
      default = ferry.packages.${pkgs.stdenv.hostPlatform.system}.ferry;
      defaultText = lib.literalExpression "ferry.packages.\${pkgs.stdenv.hostPlatform.system}.ferry";
      description = "The ferry that this host has and that its units run.";
    };

    microvmCommand = mkOption {
      type = types.bool;
      default = false;
      description = "Whether `microvm` on this host is ferry's command of that name, instead of microvm.nix's.";
    };

    startGate = {
      enable = lib.mkEnableOption "that few VMs start at the same time, and the others wait in line";
      startsAtOnce = mkOption {
        type = types.ints.unsigned;
        default = 0;
        description = "How many VMs start at the same time; 0: as many as the machine has CPUs, at least two.";
      };
      bootSeconds = mkOption {
        type = types.ints.unsigned;
        default = 5;
        description = "For how many seconds after the start of its unit a VM keeps its slot.";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = (options.microvm or { }) ? host && options.microvm ? vms;
        message = "ferry.host: microvm.nix's host module is missing: import microvm.nixosModules.host beside ferry's nixosModules.host.";
      }
      {
        assertion = config.microvm.host.enable or true;
        message = "ferry.host is enabled on a machine where microvm.host.enable is false: there are no units for MicroVMs.";
      }
    ];

    environment.systemPackages = [
      cfg.package
    ]
    ++ lib.optional cfg.microvmCommand (
      lib.hiPrio (
        pkgs.runCommand "ferry-microvm-command" { } ''
          mkdir -p "$out/bin"
          ln -s ${program} "$out/bin/microvm"
        ''
      )
    );

    systemd.tmpfiles.settings."10-ferry"."/var/lib/ferry".d = {
      user = "root";
      group = "root";
      mode = "0700";
    };

    systemd.services = lib.mkMerge [
      (lib.genAttrs beforeVMs (_: afterSettling))
      {
        "microvm@" = afterSettling;
        # What a deployment has left that the machine's last end cut off: the links are
        # put right before VMs start with them.
        ferry-settle = {
          description = "Settle interrupted deployments of MicroVMs";
          wantedBy = [ "multi-user.target" ];
          after = [ "sysinit.target" ];
          before = [ "microvms.target" ];
          path = [ config.nix.package ];
          # Once in a boot: a rebuild of the host would start it again, among VMs that run.
          restartIfChanged = false;
          unitConfig = {
            DefaultDependencies = false;
            RequiresMountsFor = "/var/lib/ferry ${stateDir} /nix";
          };
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            ExecStart = "${program} host settle --boot";
            TimeoutStartSec = "120s";
          };
        };
      }
      (lib.mkIf cfg.startGate.enable {
        "microvm@" = {
          wants = [ "microvm-start-gate@%i.service" ];
          after = [ "microvm-start-gate@%i.service" ];
        };
        "microvm-start-gate@" = import ./start-gate.nix { inherit config lib pkgs; };
      })
    ];
  };
}
