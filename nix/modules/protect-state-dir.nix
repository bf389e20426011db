# The directory of the VMs as root's, so that an escaped guest, which is user
# `microvm`, can't replace what root runs. microvm.nix's units give it to that user:
# what they do about it is overridden here.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkForce mkOption types;

  cfg = config.ferry.host;
  program = "${cfg.package}/bin/ferry";
  stateDir = config.microvm.stateDir or "/var/lib/microvms";
  vms = config.microvm.vms or { };

  stat = "${pkgs.coreutils}/bin/stat";

  # A runner's scripts run as root only if root made the link that leads to them.
  afterLooking = {
    requires = [ "microvm-set-booted@%i.service" ];
    after = [ "microvm-set-booted@%i.service" ];
  };
  runs =
    script:
    lib.recursiveUpdate afterLooking {
      serviceConfig = {
        ExecStartPre = "${pkgs.runtimeShell} -uc '[ \"$$(${stat} -c %%u:%%h \"$$1/booted\")\" = 0:1 ] && exit; echo \"$$1/booted was not made by root: nothing of it is run\" >&2; exit 1' sh ${stateDir}/%i";
        ExecStart = mkForce "${stateDir}/%i/booted/bin/${script}";
      };
    };
  # As root, so not in the VM's directory, where an interpreter takes modules from.
  asRoot =
    script: arg:
    "+${pkgs.runtimeShell} -c 'cd / || exit; runner=$$1/booted; if [ \"$$(${stat} -c %%u:%%h \"$$runner\")\" = 0:1 ] && [ -x \"$$runner/bin/${script}\" ]; then exec \"$$runner/bin/${script}\" ${arg}; fi' sh ${stateDir}/%i";

  guestOf =
    name: vm:
    if vm.flake != null then
      vm.flake.nixosConfigurations.${name}.config
    else if (vm.evaluatedConfig or null) != null then
      vm.evaluatedConfig.config
    else
      vm.config.config;

  # What microvm.nix's unit of this name does, but nothing is given away and no link is
  # followed that was there.
  install =
    name: vm:
    let
      guest = guestOf name vm;
      link = target: entry: ''
        link=$(mktemp -u ".${entry}.XXXXXXXXXX")
        ln -s ${lib.escapeShellArg target} "$link"
        mv -fT "$link" ${entry}
      '';
    in
    ''
      set -u
      dir=${lib.escapeShellArg "${stateDir}/${name}"}
      if [ "$(stat -c %u ${lib.escapeShellArg stateDir})" != 0 ]; then
        echo ${lib.escapeShellArg "${stateDir} does not belong to root: ferry-protect-state-dir.service has failed"} >&2
        exit 1
      fi
      if [ -L "$dir" ]; then
        echo "$dir is a link: look at it, then remove it" >&2
        exit 1
      fi
      if [ ! -d "$dir" ]; then
        mkdir -m 0700 "$dir"
        chown root:kvm "$dir"
        chmod 1775 "$dir"
      fi
      cd "$dir"
    ''
    + link "${guest.microvm.declaredRunner}" "current"
    + (
      if vm.flake == null then
        # So that the unit changes when the VM does; and ferry leaves such VMs alone.
        link "${guest.system.build.toplevel}" "toplevel"
      else
        ''
          file=$(mktemp ".flake.XXXXXXXXXX")
          printf '%s\n' ${lib.escapeShellArg (if vm.updateFlake != null then vm.updateFlake else "${vm.flake}")} >"$file"
          chmod 0644 "$file"
          mv -fT "$file" flake
        ''
    );
in
{
  options.ferry.host.protectStateDir = mkOption {
    type = types.bool;
    default = false;
    description = ''
      Whether the directory of the VMs belongs to root, and each VM's directory to root and
      group `kvm` (1775) with links of root's in it, instead of user `microvm`.

      Turn it on while you trust what is there: it is taken over once. Turn it off, and rebuild,
      before you remove this module: owners are as before then.
    '';
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        # Nothing is left of the protection where it is off.
        systemd.services."microvm-set-booted@".after = lib.mkIf (!cfg.protectStateDir) [
          "ferry-unprotect-state-dir.service"
        ];
        systemd.services.ferry-unprotect-state-dir = lib.mkIf (!cfg.protectStateDir) {
          description = "Give the directory of MicroVMs back to whom it belonged";
          wantedBy = [ "multi-user.target" ];
          before = [
            "ferry-settle.service"
            "microvms.target"
          ];
          unitConfig.ConditionPathExists = "/var/lib/ferry/protected.json";
          unitConfig.RequiresMountsFor = "/var/lib/ferry ${stateDir}";
          restartIfChanged = false;
          serviceConfig = {
            Type = "oneshot";
            ExecStart = "${program} host protect --undo";
          };
        };
      }
      (lib.mkIf cfg.protectStateDir {
        assertions = [
          {
            assertion = stateDir == "/var/lib/microvms";
            message = "ferry.host.protectStateDir works with microvm.stateDir = \"/var/lib/microvms\" only, and it is \"${stateDir}\".";
          }
        ];

        systemd.tmpfiles.settings."10-microvm".${stateDir}.d = {
          user = mkForce "root";
          group = mkForce "root";
          mode = mkForce "0755";
        };

        systemd.services = lib.mkMerge [
          {
            ferry-protect-state-dir = {
              description = "Make the directory of MicroVMs root's";
              wantedBy = [ "multi-user.target" ];
              after = [
                "systemd-tmpfiles-setup.service"
                "systemd-tmpfiles-resetup.service"
              ];
              before = [
                "ferry-settle.service"
                "microvms.target"
              ];
              unitConfig.DefaultDependencies = false;
              unitConfig.RequiresMountsFor = "/var/lib/ferry ${stateDir}";
              serviceConfig = {
                Type = "oneshot";
                RemainAfterExit = true;
                ExecStart = "${program} host protect";
              };
            };

            # `booted` is root's. A `current` that is not root's, or is a hard link to a link
            # of root's elsewhere, could have been planted and is not started; nor is anything
            # in a directory where it can be replaced.
            "microvm-set-booted@" = {
              after = [ "ferry-protect-state-dir.service" ];
              script = mkForce ''
                set -u
                case $(stat -c "%u %A" .) in
                  "0 d"????-??-?|"0 d"????????[tT]) ;;
                  *) echo "others than root may replace what is in $PWD: not starting it (chown root, chmod +t)" >&2; exit 1;;
                esac
                owner=$(stat -c %u current)
                if [ "$owner" != 0 ]; then echo "$PWD/current belongs to user $owner, not to root: not starting it" >&2; exit 1; fi
                if [ "$(stat -c %h current)" != 1 ]; then echo "$PWD/current is a hard link to another link: not starting it" >&2; exit 1; fi
                runner=$(readlink current)
                case $runner in /nix/store/*) ;; *) echo "$PWD/current leads to $runner, outside of /nix/store" >&2; exit 1;; esac
                ln -sfT "$runner" booted
              '';
              serviceConfig = {
                User = mkForce "root";
                Group = mkForce "root";
              };
            };

            "microvm-tap-interfaces@" = runs "tap-up";
            "microvm-macvtap-interfaces@" = runs "macvtap-up";
            "microvm-pci-devices@" = runs "pci-setup";

            # virtiofsd and its supervisor are root, too, and open names in their working
            # directory: they get one of root's.
            "microvm-virtiofsd@" = afterLooking // {
              serviceConfig = {
                WorkingDirectory = mkForce "/";
                RuntimeDirectory = "microvm-virtiofsd/%i";
                ExecStart = mkForce "${program} host virtiofsd %i";
                ExecStartPost = mkForce "+${program} host virtiofsd --link %i";
                ExecStopPost = mkForce "+${program} host virtiofsd --unlink %i";
              };
            };

            "microvm@".serviceConfig = {
              ExecStart = mkForce "${stateDir}/%i/booted/bin/microvm-run";
              ExecStartPost = mkForce [ "-${asRoot "microvm-register" "\"$$MAINPID\""}" ];
              ExecStopPost = mkForce [ (asRoot "microvm-unregister" "") ];
            };
          }
          (lib.mapAttrs' (
            name: vm:
            lib.nameValuePair "install-microvm-${name}" {
              after = [ "ferry-protect-state-dir.service" ];
              script = mkForce (install name vm);
            }
          ) vms)
        ];
      })
    ]
  );
}
