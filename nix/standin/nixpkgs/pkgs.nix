# Packages for one system without nixpkgs: what Debian has, by links, and things
# built by its shell. The builders are impure on purpose; the lab's Nix has no
# sandbox. Those of other systems only evaluate.
{
  system,
  final, # the same with overlays on top
  config,
}:
let
  lib = import ./lib;

  # What is about a package, and nothing of what builds it.
  about = [
    "meta"
    "passthru"
  ];

  run =
    name: attrs: script:
    derivation (
      removeAttrs attrs about
      // {
        inherit name system;
        builder = "/bin/bash";
        # Bash makes way for the last program; that may close its output before it
        # ends, whereupon Nix kills it, and the build has failed. So Bash is last.
        args = [
          "-euc"
          "${script}\nexit 0"
        ];
        PATH = "/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin";
      }
    )
    // removeAttrs attrs [ "args" ]
    // (attrs.passthru or { })
    // {
      inherit name;
      meta = attrs.meta or { };
    };

  # A package of links to programs of Debian.
  debian =
    name: programs:
    run name
      {
        pname = name;
        inherit programs;
        meta.mainProgram = builtins.head programs;
      }
      ''
        mkdir -p $out/bin
        for program in $programs; do ln -s "$(command -v "$program")" $out/bin/; done
      '';

  executable =
    name: path: text:
    run name
      {
        inherit text;
        meta.mainProgram = if path == "" then name else baseNameOf path;
      }
      ''
        mkdir -p "$(dirname "$out${path}")"
        printf '%s' "$text" >"$out${path}"
        chmod 555 "$out${path}"
      '';

  shellSetup = run "stdenv" { } ''
    mkdir $out
    echo 'for p in $packages; do export PATH="$p/bin:$PATH"; done' >$out/setup
  '';

  parts = builtins.match "([^-]*)-(.*)" system;
  processor = builtins.head parts;
  kernel = builtins.elemAt parts 1;
in
{
  inherit lib config system;

  callPackage =
    fn: args:
    let
      f = if builtins.isFunction fn then fn else import fn;
      made = f (builtins.intersectAttrs (builtins.functionArgs f) final // args);
    in
    made // { override = new: final.callPackage fn (args // new); };

  stdenv = rec {
    hostPlatform = {
      inherit system;
      isLinux = kernel == "linux";
      isDarwin = kernel == "darwin";
      isx86_64 = processor == "x86_64";
      isAarch64 = processor == "aarch64";
    };
    buildPlatform = hostPlatform;
  };

  writeText = name: text: run name { inherit text; } ''printf '%s' "$text" >$out'';
  writeTextDir = path: text: run (baseNameOf path) { inherit path text; } ''
    mkdir -p "$out/$(dirname "$path")"
    printf '%s' "$text" >"$out/$path"
  '';
  writeShellScript = name: text: executable name "" "#!/bin/bash\n${text}";
  writeShellScriptBin = name: text: executable name "/bin/${name}" "#!/bin/bash\n${text}";
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      meta ? { },
      ...
    }:
    let
      path = builtins.concatStringsSep ":" (map (p: "${p}/bin") runtimeInputs);
    in
    final.writeShellScriptBin name ''
      set -o errexit -o nounset -o pipefail
      ${lib.optionalString (runtimeInputs != [ ]) ''export PATH="${path}:$PATH"''}
      ${text}
    ''
    // {
      meta = {
        mainProgram = name;
      }
      // meta;
    };
  runCommand = run;
  runCommandLocal = run;
  symlinkJoin =
    {
      name,
      paths,
      meta ? { },
      ...
    }:
    run name { inherit paths meta; } ''
      mkdir -p $out
      for p in $paths; do cp -rs --no-preserve=mode "$p"/. $out/; done
    '';

  # `nix develop` sources its environment.
  mkShell =
    {
      packages ? [ ],
      ...
    }@args:
    run "nix-shell" (
      removeAttrs args [ "packages" ]
      // {
        inherit packages;
        outputs = [ "out" ];
        stdenv = shellSetup;
      }
    ) "touch $out";
  bash = debian "bash" [ "bash" ];
  bashInteractive = final.bash;
  coreutils = debian "coreutils" [
    "ls"
    "cat"
    "env"
    "id"
    "mkdir"
    "rm"
    "sleep"
  ];
  git = debian "git" [ "git" ];
  gnumake = run "make" { } "mkdir $out"; # the lab has none
  nix = debian "nix" [
    "nix"
    "nix-store"
    "nix-env"
    "nix-build"
    "nix-instantiate"
    "nix-collect-garbage"
  ];
  openssh = debian "openssh" [
    "ssh"
    "scp"
  ];
  nixfmt-tree = executable "nixfmt-tree" "/bin/treefmt" "#!/bin/bash\necho 'the stand-in formats nothing'\n";

  # The lab's Go, of whatever version; ferry's package asks for one that is new enough.
  go = debian "go" [
    "go"
    "gofmt"
  ] // { version = "1.26.0"; };
  buildGoModule = import ./go.nix {
    inherit lib run system;
    inherit (final) go;
  };
}
