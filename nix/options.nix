# The reference of the options of ferry's modules, docs/nix-options.md, from the
# modules themselves: `make nix-options`, where there is Nix.
{
  lib ? import ./standin/nixpkgs/lib,
}:
let
  package = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
  };
  ferry.packages.x86_64-linux.ferry = package "ferry";
  pkgs.stdenv.hostPlatform.system = "x86_64-linux";

  # The options that are ferry's own, of a module beside which nothing else is.
  optionsOf =
    module:
    builtins.sort (a: b: builtins.lessThan a.name b.name) (
      builtins.filter (o: builtins.head o.loc == "ferry" && o.visible && !o.internal) (
        lib.optionAttrSetToDocList
          (lib.evalModules {
            modules = [
              (import module { inherit ferry; })
              {
                # microvm.nix's, which the module for VMs asks for.
                options.microvm.deploy = lib.genAttrs [ "rebuild" "installOnHost" "sshSwitch" ] (_: lib.mkOption { });
                config._module.args.pkgs = pkgs;
                config._module.check = false;
              }
            ];
          }).options
      )
    );

  # {option}`name` and {manpage}`page(1)` are NixOS's own words in descriptions.
  plain =
    text:
    lib.concatStrings (
      map (part: if builtins.isList part then "" else part) (
        builtins.split "[{](option|manpage|var|command|file|env)[}]" (
          if builtins.isAttrs text then text.text else text
        )
      )
    );
  oneLine = text: lib.concatStringsSep " " (builtins.filter builtins.isString (builtins.split "[ \n]+" text));
  code = v: if v._type or "" == "literalMD" then plain v.text else "`${oneLine v.text}`";
  entry =
    o:
    lib.concatStringsSep "\n" (
      [
        "### `${o.name}`"
        ""
        (lib.trim (plain o.description))
        ""
        "- type: ${o.type}"
      ]
      ++ lib.optional (o ? default) "- default: ${code o.default}"
      ++ lib.optional (o ? example) "- example: ${code o.example}"
      ++ [ "" ]
    );
  chapter = title: module: "## ${title}\n\n${lib.concatMapStringsSep "\n" entry (optionsOf module)}";
in
''
  # Options of ferry's modules

  Made from the modules by `make nix-options`: don't change it here. [nix.md](nix.md) says how
  the modules are used.

''
+ chapter "In a VM: `nixosModules.deploy`" ./modules/deploy.nix
+ "\n"
+ chapter "On a host: `nixosModules.host`" ./modules/host.nix
