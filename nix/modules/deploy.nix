# For a VM, beside microvm.nix: the commands that it documents,
# config.microvm.deploy.{rebuild,installOnHost,sshSwitch}, run ferry with what this
# very evaluation has found out. Nothing is evaluated again.
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
  cfg = config.ferry.deploy;

  hostName = config.networking.hostName or "";
  system = pkgs.stdenv.hostPlatform.system;

  # What has not been set is left to ferry.
  isSet = lib.filterAttrs (_: v: v != null && v != [ ] && v != { });
  settings = isSet (cfg.settings // { health = isSet cfg.settings.health; });

  evaluation = import ../evaluation.nix {
    inherit (cfg) name revision lastModified;
    configuration = { inherit config; };
    fleet.vms.${cfg.name} = settings;
  };

  # How a shell and Nix want it to be written: with quotes around a name with dots.
  installable =
    option:
    let
      of = attribute: ".#nixosConfigurations.${attribute}.config.microvm.deploy.${option}";
    in
    if builtins.match "[A-Za-z_][A-Za-z0-9_-]*" cfg.name != null then
      of cfg.name
    else
      "'${of "\"${cfg.name}\""}'";

  # As the option microvm.deploy.OPTION names it, with microvm.nix's name of the program.
  command =
    {
      option,
      program,
      verb,
      usage,
    }:
    pkgs.writeShellScriptBin program ''
      if [ $# -eq 0 ]; then
        echo ${lib.escapeShellArg "usage: nix run ${installable option} -- ${usage}"} >&2
        echo ${lib.escapeShellArg "hint: all options of `ferry ${verb}` are taken, too: -- --help tells them"} >&2
        exit 2
      fi
      # A garbage collection leaves alone what a process has in its environment: nothing
      # else keeps the derivations, once `nix run` has become this.
      export FERRY_KEEPS=${
        # Where ferry has no package, that is said, whatever is wrong with the runner.
        builtins.seq cfg.package.outPath evaluation
      }
      exec ${cfg.package}/bin/ferry ${verb} ${lib.escapeShellArg cfg.name} --evaluation ${evaluation} "$@"
    '';

  # microvm.nix's own condition for sshSwitch.
  canSwitchViaSsh =
    config.system.switch.enable
    && config.services.openssh.enable
    && builtins.any ({ source, ... }: source == "/nix/store") config.microvm.shares;

  # microvm.nix sets its own at the priority of a plain definition, 100: a user's
  # mkForce, 50, still wins.
  instead = lib.mkOverride 75;

  addresses = "root@HOST root@TARGET";

  ofSystem = {
    microvm.deploy = {
      rebuild = instead (command {
        option = "rebuild";
        program = "microvm-rebuild";
        verb = "rebuild";
        usage = "${addresses} [--use-remote-sudo] [switch|boot|test|dry-activate]";
      });
      installOnHost = instead (command {
        option = "installOnHost";
        program = "microvm-install-on-host";
        verb = "install";
        usage = "root@HOST [--use-remote-sudo]";
      });
      sshSwitch = lib.mkIf canSwitchViaSsh (instead (command {
        option = "sshSwitch";
        program = "microvm-switch";
        verb = "switch";
        usage = "root@TARGET [--use-remote-sudo] [switch|test|dry-activate]";
      }));
    };
  };

  setting =
    type: description:
    mkOption {
      inherit description;
      type = types.nullOr type;
      default = null;
    };
in
{
  options.ferry.deploy = {
    name = mkOption {
      description = ''
        The VM's name on its host, and in the messages of ferry.
      '';
      type = types.strMatching "[A-Za-z0-9][A-Za-z0-9_-]*(\\.[A-Za-z0-9_-]+)*";
      default =
        if hostName == "" then
          throw "ferry.deploy.name is not set, and networking.hostName is empty: set one of them"
        else
          hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      example = "web";
    };

    package = mkOption {
      description = "The ferry that the commands run, on the operator's machine.";
      type = types.package;
      default =
        ferry.packages.${system}.ferry
          or (throw "ferry has no package for ${system}: set ferry.deploy.package");
      defaultText = lib.literalExpression "ferry.packages.\${pkgs.stdenv.hostPlatform.system}.ferry";
    };

    revision = mkOption {
      description = "The revision of the flake, for the VM's history on its host.";
      type = types.nullOr types.str;
      default = config.system.configurationRevision or null;
      defaultText = lib.literalExpression "config.system.configurationRevision";
      example = lib.literalExpression "self.rev or self.dirtyRev or null";
    };

    lastModified = mkOption {
      description = ''
        When the flake was changed last, in seconds since 1970. With it, ferry says how
        old the configuration is that it deploys, and warns where another revision was
        deployed since.
      '';
      type = types.nullOr types.ints.unsigned;
      default = null;
      example = lib.literalExpression "self.lastModified";
    };

    settings = mkOption {
      description = ''
        How to deploy this VM, as `ferry.vms.NAME` of a flake's `ferry` output says it,
        but for its host. Arguments on the command line win. Whoever can read the store
        of the machine that evaluates can read this.
      '';
      default = { };
      type = types.submodule {
        options = {
          target = setting types.str "The address of the system inside, where none is named.";
          targetSudo = setting types.bool "Become root in the guest with sudo.";
          restart = setting (types.enum [
            "auto"
            "if-needed"
            "always"
            "never"
          ]) "When to restart the VM: `auto` only where it can't be switched live.";
          updateFlake = setting types.str "The flake that the host updates the VM from.";
          buildOn = setting types.str "Where to build: `host`, `local`, or `ssh-ng://[user@]builder`.";
          health = {
            tcp = mkOption {
              description = "What must take a connection from the host: `HOST:PORT`.";
              type = types.listOf types.str;
              default = [ ];
              example = [ "10.0.0.5:443" ];
            };
            http = mkOption {
              description = "What must answer the host with a status below 400.";
              type = types.listOf types.str;
              default = [ ];
              example = [ "http://10.0.0.5/healthz" ];
            };
            command = setting types.str "A shell command that must succeed in the guest.";
            timeout = setting types.ints.positive "Within how many seconds all that must hold.";
          };
        };
      };
    };
  };

  config =
    if options ? microvm.deploy.rebuild then
      ofSystem
    else
      throw ''
        ferry's module `deploy` is for a VM of microvm.nix, and this configuration has no
        option microvm.deploy.rebuild. Import microvm.nixosModules.microvm beside it (a
        host takes ferry's module `host` instead), or update microvm.nix.'';
}
