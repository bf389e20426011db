# Timers of a host that update its VMs, or a flake: by the settings file and units that
# `ferry host timer` makes elsewhere.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;

  cfg = config.ferry.host;
  update = cfg.timers.update;
  flakeUpdate = cfg.timers.flakeUpdate;
  program = "${cfg.package}/bin/ferry";

  vmName = types.strMatching "[A-Za-z0-9][A-Za-z0-9_-]*([.][A-Za-z0-9_-]+)*" // {
    description = "name of a MicroVM";
  };
  # Of the host, and a string: a path of Nix would be copied into the store.
  hostPath = types.strMatching "/[^\n]*" // {
    description = "string with an absolute path of the host";
  };
  word = types.strMatching "[^-[:space:]][^[:space:]]*" // {
    description = "string without spaces";
  };

  timerOptions = what: {
    enable = lib.mkEnableOption "a timer that ${what}";
    onCalendar = mkOption {
      type = types.nonEmptyListOf (
        types.strMatching "[^%\n\r]*[^%[:space:]][^%\n\r]*" // { description = "calendar expression"; }
      );
      example = [ "Mon..Fri 03:00" ];
      description = "When it runs, in the form of {manpage}`systemd.time(7)`. A run that was missed while the machine was off is made up for.";
    };
    randomizedDelaySec = mkOption {
      type = types.ints.unsigned;
      default = 0;
      example = 1800;
      description = "Seconds: a random time up to this is waited before each run.";
    };
  };
  yes =
    description:
    mkOption {
      type = types.bool;
      default = false;
      inherit description;
    };
  maybe =
    type: attrs:
    mkOption (
      {
        type = types.nullOr type;
        default = null;
      }
      // attrs
    );

  # What is not set is not in the file either: an older ferry refuses a word that it
  # doesn't know.
  said = lib.filterAttrs (
    _: v:
    !builtins.elem v [
      null
      false
      [ ]
    ]
  );
  settings =
    lib.optionalAttrs update.enable {
      update = said {
        inherit (update)
          hydra
          from
          fromFlake
          anyFlake
          allowRedirect
          allowHttp
          allowOlder
          netrc
          cache
          vms
          restart
          noRollback
          ;
        target = lib.mapAttrsToList (vm: t: "${vm}=${t.address}") update.targets;
        targetSudo = builtins.attrNames (lib.filterAttrs (_: t: t.sudo) update.targets);
      };
    }
    // lib.optionalAttrs flakeUpdate.enable {
      flakeUpdate = said {
        inherit (flakeUpdate)
          repository
          branch
          push
          inputs
          ;
      };
    };
  settingsFile = "ferry/timers.json";

  # The unit of a timer, and what it starts: as `ferry host timer` makes them.
  timed = kind: timer: description: {
    services."ferry-${kind}" = {
      inherit description;
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      path = [
        config.nix.package
        pkgs.git
        pkgs.openssh
      ];
      environment.HOME = "/root";
      # A rebuild of the host ends no update that is under way.
      restartIfChanged = false;
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${program} host timer run ${kind}";
      };
    };
    timers."ferry-${kind}" = {
      inherit description;
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = timer.onCalendar;
        AccuracySec = "1s";
        Persistent = true;
      }
      // lib.optionalAttrs (timer.randomizedDelaySec > 0) {
        RandomizedDelaySec = timer.randomizedDelaySec;
      };
    };
  };

  plain = address: lib.hasPrefix "http://" (lib.toLower address);
  outside = name: update.vms != [ ] && !builtins.elem name update.vms;
in
{
  options.ferry.host = {
    timers.update = timerOptions "updates this host's VMs (`ferry update`)" // {
      hydra = maybe (types.strMatching "https?://[^[:space:]]+" // { description = "URL"; }) {
        example = "https://hydra.example.org/jobset/infra/main";
        description = "A jobset or job of Hydra that builds the VMs. Of `hydra`, `from` and `fromFlake` there must be one.";
      };
      from = maybe (types.strMatching "(https?:/)?/[^\n]+" // { description = "URL or absolute path of the host"; }) {
        example = "https://ci.example.org/runners.json";
        description = "A URL, or an absolute path of the host, of a file that says which runner each VM should have.";
      };
      fromFlake = yes "Build what the VMs' `flake` files name.";
      anyFlake = yes "With `hydra`: update a VM whatever its `flake` file says.";
      allowRedirect = mkOption {
        type = types.listOf types.nonEmptyStr;
        default = [ ];
        example = [ "https://cdn.example.org" ];
        description = "Other origins that answers may come from.";
      };
      allowHttp = yes "The source may be asked over http, where anybody on the way can say what the host is to run.";
      allowOlder = yes "Also take builds that are older than the installed one of the same job.";
      netrc = maybe hostPath {
        example = "/run/secrets/netrc";
        description = "A netrc file on the host, with credentials for the source.";
      };
      cache = maybe types.nonEmptyStr {
        example = "https://cache.example.org";
        description = "The binary cache that has the builds; without it, the host's own substituters are asked.";
      };
      vms = mkOption {
        type = types.listOf vmName;
        default = [ ];
        description = "The VMs that are updated; without it, all of the host.";
      };
      targets = mkOption {
        type = types.attrsOf (
          types.submodule {
            options = {
              address = mkOption {
                type = word;
                example = "root@web.example.org";
                description = "Where the system inside the VM is, `[USER@]HOST`.";
              };
              sudo = yes "Become root in the guest with sudo.";
            };
          }
        );
        default = { };
        description = "Where the systems inside of VMs are. Of other VMs, the host's own record of the last deployment counts.";
      };
      restart = maybe
        (types.enum [
          "auto"
          "if-needed"
          "always"
          "never"
        ])
        {
          description = "When a VM is restarted, as by `ferry update --restart`; without it `auto`.";
        };
      noRollback = yes "Leave an update that failed as it is, instead of undoing it.";
    };

    timers.flakeUpdate =
      timerOptions "updates the inputs of a flake, on a branch for CI to build (`ferry flake-update`)"
      // {
        repository = maybe hostPath {
          example = "/srv/infra.git";
          description = "The flake's directory on the host, or a bare repository. There must be one.";
        };
        branch = maybe word { description = "The branch for updates; without it `flake-update`."; };
        push = maybe word {
          example = "origin";
          description = "A remote to push to; without it, none.";
        };
        inputs = mkOption {
          type = types.listOf word;
          default = [ ];
          description = "The inputs that are updated; without it, all.";
        };
      };
  };

  config = lib.mkIf cfg.enable {
    assertions = lib.optionals update.enable [
      {
        assertion =
          lib.count (x: x) [
            (update.hydra != null)
            (update.from != null)
            update.fromFlake
          ] == 1;
        message = "ferry.host.timers.update needs one source, and one only: `hydra`, `from` or `fromFlake`.";
      }
      {
        assertion = update.anyFlake -> update.hydra != null;
        message = "ferry.host.timers.update: `anyFlake` goes with `hydra` only.";
      }
      {
        assertion = !builtins.any (a: a != null && builtins.match "https?://[^/]*@.*" a != null) [
          update.hydra
          update.from
        ];
        message = "ferry.host.timers.update: the settings file can be read by everybody, and so could the password in the address of the source. Put it into a `netrc` file.";
      }
      {
        assertion = update.netrc == null || !lib.hasPrefix builtins.storeDir update.netrc;
        message = "ferry.host.timers.update.netrc is in the store, where everybody can read it. Name a file outside.";
      }
      {
        assertion =
          update.allowHttp
          || !builtins.any (a: a != null && plain a) [
            update.hydra
            update.from
          ];
        message = "ferry.host.timers.update: the source is asked over http, where anybody on the way can say what the host is to run. Use https, or set `allowHttp`.";
      }
    ]
    ++ lib.optionals update.enable (
      lib.concatMap (vm: [
        {
          assertion = vmName.check vm;
          message = "ferry.host.timers.update.targets: `${vm}` is not a name of a MicroVM.";
        }
        {
          assertion = !outside vm;
          message = "ferry.host.timers.update.targets: `${vm}` is not one of `vms`.";
        }
        {
          assertion = update.targets.${vm}.address != "local";
          message = "ferry.host.timers.update.targets.${vm}: the system inside a VM is never `local`.";
        }
      ]) (builtins.attrNames update.targets)
    )
    ++ lib.optional flakeUpdate.enable {
      assertion = flakeUpdate.repository != null;
      message = "ferry.host.timers.flakeUpdate has no `repository`: name the flake's directory on the host, or a bare repository.";
    }
    ++ lib.optional (settings != { }) {
      # `text` of two definitions would be one after the other.
      assertion = config.environment.etc.${settingsFile}.text == builtins.toJSON settings;
      message = "environment.etc.\"${settingsFile}\" is defined elsewhere, too: ferry.host.timers makes that file. Remove the other definition.";
    };

    environment.etc = lib.mkIf (settings != { }) {
      ${settingsFile}.text = builtins.toJSON settings;
    };

    systemd.services = lib.mkMerge [
      (lib.mkIf update.enable (timed "update" update "Update MicroVMs").services)
      (lib.mkIf flakeUpdate.enable
        (timed "flake-update" flakeUpdate "Update the flake of MicroVMs for CI to build").services
      )
    ];
    systemd.timers = lib.mkMerge [
      (lib.mkIf update.enable (timed "update" update "Update MicroVMs").timers)
      (lib.mkIf flakeUpdate.enable
        (timed "flake-update" flakeUpdate "Update the flake of MicroVMs for CI to build").timers
      )
    ];
  };
}
