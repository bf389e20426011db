# A stand-in of NixOS: the documented options that ferry's and microvm.nix's
# modules touch, and the units that they make. `nixosSystem` is as nixpkgs' flake
# has it; with nixpkgs' own `lib` in place of the stand-in's it works, too.
{
  lib,
  # pkgsFor has the package set of a system.
  pkgsFor,
}:
{
  system ? null,
  modules,
  specialArgs ? { },
  ...
}:
let
  inherit (lib) mkOption types;

  option = type: default: mkOption { inherit type default; };
  text = option (types.nullOr types.lines) null;
  names = option (types.listOf types.str) [ ];

  # A value of a unit's section, which may be a list.
  unitOption = lib.mkOptionType {
    name = "systemd option";
    merge =
      loc: defs:
      if builtins.any (d: builtins.isList d.value) defs then
        builtins.concatMap (d: lib.toList d.value) defs
      else
        lib.mergeEqualOption loc defs;
  };
  section = option (types.attrsOf unitOption) { };

  common = {
    enable = option types.bool true;
    overrideStrategy = option (types.enum [
      "asDropinIfExists"
      "asDropin"
    ]) "asDropinIfExists";
    description = option types.singleLineStr "";
    documentation = names;
    after = names;
    before = names;
    bindsTo = names;
    conflicts = names;
    partOf = names;
    requires = names;
    requisite = names;
    wants = names;
    onFailure = names;
    onSuccess = names;
    wantedBy = names;
    requiredBy = names;
    upheldBy = names;
    aliases = names;
    unitConfig = section;
    startLimitBurst = option (types.nullOr types.int) null;
    startLimitIntervalSec = option (types.nullOr types.int) null;
  };
  service = {
    options = common // {
      environment = option (types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.str
            types.path
            types.package
          ]
        )
      )) { };
      path = option (types.listOf (
        types.oneOf [
          types.package
          types.str
        ]
      )) [ ];
      serviceConfig = section;
      script = option types.lines "";
      preStart = option types.lines "";
      postStart = option types.lines "";
      preStop = option types.lines "";
      postStop = option types.lines "";
      reload = option types.lines "";
      scriptArgs = option types.str "";
      restartIfChanged = option types.bool true;
      reloadIfChanged = option types.bool false;
      stopIfChanged = option types.bool true;
      restartTriggers = option (types.listOf types.unspecified) [ ];
      reloadTriggers = option (types.listOf types.unspecified) [ ];
      startAt = option (types.either types.str (types.listOf types.str)) [ ];
    };
  };
  units = module: option (types.attrsOf (types.submodule module)) { };

  show =
    v:
    if v == true then
      "true"
    else if v == false then
      "false"
    else
      toString v;
  lines = lib.mapAttrsToList (n: v: lib.concatMapStrings (x: "${n}=${show x}\n") (lib.toList v));
  part = name: values: lib.optionalString (values != { }) "[${name}]\n${lib.concatStrings (lines values)}\n";
  unitSection =
    u:
    part "Unit" (
      lib.filterAttrs (_: v: v != [ ] && v != "" && v != null) {
        Description = u.description;
        Documentation = u.documentation;
        After = u.after;
        Before = u.before;
        BindsTo = u.bindsTo;
        Conflicts = u.conflicts;
        PartOf = u.partOf;
        Requires = u.requires;
        Requisite = u.requisite;
        Wants = u.wants;
        OnFailure = u.onFailure;
        OnSuccess = u.onSuccess;
        StartLimitBurst = u.startLimitBurst;
        StartLimitIntervalSec = u.startLimitIntervalSec;
      }
      // u.unitConfig
    );
  serviceSection =
    pkgs: name: u:
    let
      script = kind: body: "${pkgs.writeShellScriptBin "unit-script-${lib.replaceStrings [ "@" ] [ "-" ] name}-${kind}" "set -e\n${body}"}/bin/unit-script-${lib.replaceStrings [ "@" ] [ "-" ] name}-${kind}";
      scripts =
        lib.optionalAttrs (u.script != "") {
          ExecStart = "${script "start" u.script} ${u.scriptArgs}";
        }
        // lib.optionalAttrs (u.preStart != "") { ExecStartPre = script "pre-start" u.preStart; }
        // lib.optionalAttrs (u.postStop != "") { ExecStopPost = script "post-stop" u.postStop; };
      environment =
        u.environment
        // lib.optionalAttrs (u.path != [ ]) {
          PATH = lib.concatMapStringsSep ":" (p: "${p}/bin:${p}/sbin") u.path;
        };
      twice = builtins.attrNames (builtins.intersectAttrs scripts u.serviceConfig);
    in
    if twice != [ ] then
      throw "The option `systemd.services.${builtins.toJSON name}.serviceConfig.${builtins.head twice}' has conflicting definition values: a script is set, too."
    else
      part "Service" (
        lib.optionalAttrs (environment != { }) {
          Environment = lib.mapAttrsToList (n: v: builtins.toJSON "${n}=${toString v}") (
            lib.filterAttrs (_: v: v != null) environment
          );
        }
        // lib.optionalAttrs (u ? restartIfChanged && !u.restartIfChanged) { X-RestartIfChanged = false; }
        // scripts
        // u.serviceConfig
      );
  asUnits =
    type: body:
    lib.mapAttrs' (
      name: u:
      lib.nameValuePair "${name}.${type}" {
        inherit (u)
          enable
          aliases
          wantedBy
          requiredBy
          overrideStrategy
          ;
        text = unitSection u + body name u;
      }
    );

  tmpfile = types.submodule {
    options = {
      mode = option types.str "-";
      user = option types.str "-";
      group = option types.str "-";
      age = option types.str "-";
      argument = option types.str "";
    };
  };

  nixos =
    { config, pkgs, ... }:
    {
      options = {
        assertions = mkOption {
          type = types.listOf types.unspecified;
          default = [ ];
          internal = true;
        };
        warnings = mkOption {
          type = types.listOf types.str;
          default = [ ];
          internal = true;
        };
        meta = option (types.attrsOf types.unspecified) { };
        networking.hostName = option types.str "nixos";
        networking.domain = option (types.nullOr types.str) null;
        services.openssh.enable = option types.bool false;
        services.openssh.ports = option (types.listOf types.port) [ 22 ];
        system.stateVersion = option types.str "26.05";
        system.switch.enable = option types.bool true;
        system.activationScripts = option (types.attrsOf types.unspecified) { };
        system.build = mkOption {
          default = { };
          type = types.lazyAttrsOf types.unspecified;
          # No system is had of a configuration that its assertions refuse.
          apply =
            build:
            build
            // lib.optionalAttrs (build ? toplevel) {
              toplevel =
                let
                  failed = map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
                in
                if failed == [ ] then
                  lib.foldl' (x: w: builtins.trace "evaluation warning: ${w}" x) build.toplevel config.warnings
                else
                  throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (m: "- ${m}") failed}";
            };
        };
        nix.enable = option types.bool true;
        nix.package = mkOption {
          type = types.package;
          default = pkgs.nix;
        };
        nix.settings = option (types.attrsOf types.unspecified) { };
        nixpkgs.hostPlatform = mkOption {
          type = types.unspecified;
          default = system;
        };
        nixpkgs.overlays = option (types.listOf types.unspecified) [ ];
        environment.systemPackages = option (types.listOf types.package) [ ];
        environment.etc =
          option
            (types.attrsOf (
              types.submodule {
                options = {
                  enable = option types.bool true;
                  inherit text;
                  source = option (types.nullOr types.path) null;
                  mode = option types.str "symlink";
                  user = option types.str "+0";
                  group = option types.str "+0";
                };
              }
            ))
            { };
        users.users = option (types.attrsOf (
          types.submodule {
            options = {
              isSystemUser = option types.bool false;
              isNormalUser = option types.bool false;
              group = option types.str "";
              extraGroups = names;
              uid = option (types.nullOr types.int) null;
              openssh.authorizedKeys.keys = names;
            };
          }
        )) { };
        users.groups = option (types.attrsOf (
          types.submodule {
            options = {
              gid = option (types.nullOr types.int) null;
              members = names;
            };
          }
        )) { };
        boot.kernelModules = names;
        boot.kernelPackages = option types.unspecified null;
        hardware.ksm.enable = option types.bool false;
        security.pam.loginLimits = option (types.listOf (types.attrsOf types.str)) [ ];
        security.wrappers = option (types.attrsOf (types.attrsOf types.unspecified)) { };
        virtualisation.libvirtd.enable = option types.bool false;
        systemd.package = mkOption {
          type = types.package;
          default = pkgs.systemd;
        };
        systemd.packages = option (types.listOf types.package) [ ];
        systemd.services = units service;
        systemd.targets = units { options = common; };
        systemd.timers = units { options = common // { timerConfig = section; }; };
        systemd.paths = units { options = common // { pathConfig = section; }; };
        systemd.units = option (types.attrsOf (
          types.submodule {
            options = {
              enable = option types.bool true;
              inherit text;
              wantedBy = names;
              requiredBy = names;
              aliases = names;
              overrideStrategy = option types.str "asDropinIfExists";
            };
          }
        )) { };
        systemd.tmpfiles.rules = names;
        systemd.tmpfiles.settings = option (types.attrsOf (types.attrsOf (types.attrsOf tmpfile))) { };
      };
      config = {
        system.build.toplevel = lib.mkDefault (
          pkgs.writeText "nixos-system-${config.networking.hostName}" (
            builtins.toJSON { inherit (config.networking) hostName; }
          )
        );
        systemd.units = lib.mkMerge [
          (asUnits "service" (serviceSection pkgs) config.systemd.services)
          (asUnits "target" (_: _: "") config.systemd.targets)
          (asUnits "timer" (_: u: part "Timer" u.timerConfig) config.systemd.timers)
          (asUnits "path" (_: u: part "Path" u.pathConfig) config.systemd.paths)
        ];
      };
    };

  evaluated = lib.evalModules {
    inherit specialArgs;
    modules = modules ++ [
      nixos
      (
        { config, ... }:
        {
          _module.args.pkgs = lib.mkOptionDefault (pkgsFor config.nixpkgs.hostPlatform);
        }
      )
    ];
  };
in
evaluated
// {
  pkgs = pkgsFor evaluated.config.nixpkgs.hostPlatform;
  inherit lib;
}
