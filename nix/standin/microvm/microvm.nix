# A stand-in of microvm.nix's module for guests: the documented options that ferry
# looks at, microvm.deploy at microvm.nix's own priority, and runners as the lab
# makes them. To be used with ../nixpkgs/nixos.nix.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.microvm;

  option = type: default: mkOption { inherit type default; };
  maybe = type: option (types.nullOr type) null;
  setOf = options: types.submodule { inherit options; };

  packages = import ../../../internal/lab/flake/microvm/lib/packages.nix;

  # What the lab makes of the same options.
  lab = import ../../../internal/lab/flake/microvm/lib/config.nix {
    inherit packages;
    options = {
      inherit (config) lab;
      networking = { inherit (config.networking) hostName address; };
      services = {
        openssh = { inherit (config.services.openssh) enable; };
        inherit (config.services) page;
      };
      environment = { inherit (config.environment) systemPackages; };
      microvm = {
        inherit (cfg) hypervisor mem vcpu;
        shares = map (lib.filterAttrs (_: v: v != null)) cfg.shares;
        inherit (cfg) interfaces;
      };
    };
  };

  canSwitchViaSsh =
    config.system.switch.enable
    && config.services.openssh.enable
    && builtins.any ({ source, ... }: source == "/nix/store") cfg.shares;

  own = name: pkgs.writeShellScriptBin name "echo 'this is not ferry' >&2; exit 1";
in
{
  options = {
    microvm = {
      guest.enable = option types.bool true;
      hypervisor = option (types.enum [
        "qemu"
        "process"
      ]) "process";
      mem = option types.ints.positive 512;
      vcpu = option types.ints.positive 1;
      shares = option (types.listOf (setOf {
        tag = mkOption { type = types.str; };
        source = mkOption { type = types.str; };
        mountPoint = mkOption { type = types.str; };
        proto = option (types.enum [
          "9p"
          "virtiofs"
        ]) "9p";
        socket = maybe types.str;
      })) [ ];
      interfaces = option (types.listOf (setOf {
        type = mkOption { type = types.str; };
        id = mkOption { type = types.str; };
        mac = mkOption { type = types.str; };
      })) [ ];
      volumes = option (types.listOf types.attrs) [ ];
      vsock.cid = maybe types.int;
      credentialFiles = option (types.attrsOf types.path) { };
      extraArgsScript = maybe types.str;
      runner = mkOption { type = types.attrsOf types.package; };
      declaredRunner = mkOption { type = types.package; };
      deploy = {
        installOnHost = mkOption { type = types.package; };
        sshSwitch = maybe types.package;
        rebuild = maybe types.package;
      };
    };

    # What the lab's systems have that NixOS hasn't.
    lab = option (types.attrsOf types.unspecified) { };
    networking.address = maybe types.str;
    services.page = {
      enable = option types.bool false;
      text = option types.str "Hello";
      footer = option types.str "";
    };
    system.configurationRevision = maybe types.str;
  };

  config = {
    system.build.toplevel = lab.system.build.toplevel;
    microvm = {
      inherit (lab.microvm) runner;
      declaredRunner = lib.mkDefault cfg.runner.${cfg.hypervisor};
      deploy = {
        installOnHost = own "microvm-install-on-host";
        sshSwitch = lib.mkIf canSwitchViaSsh (own "microvm-switch");
        rebuild = own "microvm-rebuild";
      };
    };
  };
}
