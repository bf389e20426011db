# A stand-in of microvm.nix's module for hosts: the documented options and units
# that ferry's module goes by.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (config.microvm) stateDir vms;
  user = "microvm";
  group = "kvm";

  guestOf = name: vm: if vm.flake != null then vm.flake.nixosConfigurations.${name}.config else vm.config;
  helper = what: script: more: {
    "microvm-${what}@" = lib.recursiveUpdate {
      description = "${what} of MicroVM '%i'";
      before = [ "microvm@%i.service" ];
      partOf = [ "microvm@%i.service" ];
      after = lib.optional (what != "pci-devices") "microvm-set-booted@%i.service";
      unitConfig.ConditionPathExists = "${stateDir}/%i/current/bin/${script}";
      restartIfChanged = false;
      serviceConfig = {
        ExecStart = "${stateDir}/%i/current/bin/${script}";
        SyslogIdentifier = "microvm-${what}@%i";
      };
    } more;
  };
  once = {
    serviceConfig.Type = "oneshot";
    serviceConfig.RemainAfterExit = true;
  };
  helpers = map (h: "microvm-${h}@%i.service") [
    "tap-interfaces"
    "macvtap-interfaces"
    "pci-devices"
    "virtiofsd"
    "set-booted"
  ];
in
{
  options.microvm = {
    host.enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether this is a host of MicroVMs.";
    };
    stateDir = mkOption {
      type = types.path;
      default = "/var/lib/microvms";
      description = "Where MicroVMs live.";
    };
    autostart = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "MicroVMs that start with the host.";
    };
    vms = mkOption {
      default = { };
      description = "MicroVMs of the host's own configuration.";
      type = types.attrsOf (
        types.submodule {
          options = {
            flake = mkOption {
              type = types.nullOr types.path;
              default = null;
              description = "The flake that it comes from.";
            };
            updateFlake = mkOption {
              type = types.nullOr types.str;
              default = null;
              description = "The flake that it is updated from.";
            };
            config = mkOption {
              type = types.unspecified;
              default = null;
              description = "Its configuration, here already evaluated.";
            };
            autostart = mkOption {
              type = types.bool;
              default = true;
              description = "Whether it starts with the host.";
            };
          };
        }
      );
    };
  };

  config = lib.mkIf config.microvm.host.enable {
    systemd.tmpfiles.settings."10-microvm".${stateDir}.d = {
      inherit user group;
      mode = "0775";
    };
    users.users.${user} = {
      isSystemUser = true;
      inherit group;
    };
    microvm.autostart = builtins.filter (n: vms.${n}.autostart) (builtins.attrNames vms);
    systemd.targets.microvms = {
      wantedBy = [ "multi-user.target" ];
      wants = map (n: "microvm@${n}.service") config.microvm.autostart;
    };

    systemd.services = lib.mkMerge (
      [
        (helper "tap-interfaces" "tap-up" once)
        (helper "macvtap-interfaces" "macvtap-up" once)
        (helper "pci-devices" "pci-setup" once)
        (helper "virtiofsd" "virtiofsd-run" {
          serviceConfig = {
            Type = "notify";
            NotifyAccess = "all";
            WorkingDirectory = "${stateDir}/%i";
            Restart = "always";
            RestartSec = "5s";
            KillMode = "mixed";
          };
        })
        {
          "microvm-set-booted@" = {
            description = "Save MicroVM '%i' booted configuration";
            before = [ "microvm@%i.service" ];
            partOf = [ "microvm@%i.service" ];
            restartIfChanged = false;
            script = ''
              rm -f booted
              ln -s $(readlink current) booted
            '';
            serviceConfig = {
              Type = "oneshot";
              RemainAfterExit = true;
              WorkingDirectory = "${stateDir}/%i";
              User = user;
              Group = group;
              ExecStop = "${pkgs.coreutils}/bin/rm booted";
            };
          };
          "microvm@" = {
            description = "MicroVM '%i'";
            requires = helpers;
            after = [ "network.target" ] ++ helpers;
            unitConfig.ConditionPathExists = "${stateDir}/%i/current/bin/microvm-run";
            restartIfChanged = false;
            serviceConfig = {
              Type = "simple";
              WorkingDirectory = "${stateDir}/%i";
              ExecStart = "${stateDir}/%i/current/bin/microvm-run";
              ExecStop = "${stateDir}/%i/booted/bin/microvm-shutdown";
              ExecStartPost = [
                "+${pkgs.runtimeShell} -c 'if [ -x ${stateDir}/%i/current/bin/microvm-register ]; then ${stateDir}/%i/current/bin/microvm-register $MAINPID; fi'"
              ];
              ExecStopPost = [
                "+${pkgs.runtimeShell} -c 'if [ -x ${stateDir}/%i/current/bin/microvm-unregister ]; then ${stateDir}/%i/current/bin/microvm-unregister; fi'"
              ];
              TimeoutSec = 150;
              Restart = "always";
              RestartSec = "5s";
              User = user;
              Group = group;
              SyslogIdentifier = "microvm@%i";
            };
          };
        }
      ]
      ++ lib.mapAttrsToList (name: vm: {
        "install-microvm-${name}" = {
          description = "Install MicroVM '${name}'";
          before = [ "microvm@${name}.service" ];
          partOf = [ "microvm@${name}.service" ];
          wantedBy = [ "microvms.target" ];
          unitConfig.ConditionPathExists = lib.mkIf (
            vm.flake != null && vm.updateFlake != null
          ) "!${stateDir}/${name}";
          serviceConfig.Type = "oneshot";
          script = ''
            mkdir -p ${stateDir}/${name}
            cd ${stateDir}/${name}
            ln -sTf ${(guestOf name vm).microvm.declaredRunner} current
            chown -h ${user}:${group} . current
          '';
        };
      }) vms
    );
  };
}
