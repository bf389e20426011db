# nixpkgs' buildGoModule, as far as ferry's package uses it: the modules' folder is
# made by `go mod vendor` and must have the hash, and the rest is built from it. The
# modules come from a folder that the lab shares with the machine it runs on, as does
# a cache of what Go has compiled: /srv/go/modules, /srv/go/build.
{
  lib,
  run,
  system,
  go,
}:
argsOrFunction:
let
  args = if builtins.isFunction argsOrFunction then argsOrFunction args else argsOrFunction;
  name = "${args.pname}-${args.version}";

  platform =
    {
      x86_64-linux = "linux/amd64";
      aarch64-linux = "linux/arm64";
      x86_64-darwin = "darwin/amd64";
      aarch64-darwin = "darwin/arm64";
    }
    .${system};
  goos = builtins.head (builtins.match "(.*)/.*" platform);
  goarch = builtins.head (builtins.match ".*/(.*)" platform);

  env = (args.env or { }) // {
    GO111MODULE = "on";
    GOTOOLCHAIN = "local";
    GOOS = goos;
    GOARCH = goarch;
    GOSUMDB = "off";
  };

  begin = ''
    runHook() { local hook=''${!1-}; eval "$hook"; }
    export HOME=$TMPDIR GOPATH=$TMPDIR/go GOMODCACHE=$TMPDIR/modules
    cp -r --no-preserve=mode,ownership "$src" source
    cd source
  '';

  modAttrs = {
    name = "${name}-go-modules";
    inherit (args) src;
  };
  mod = modAttrs // (args.overrideModAttrs or (_: { })) modAttrs;
  goModules =
    run mod.name
      (
        env
        // removeAttrs mod [ "name" ]
        // {
          preBuild = args.preBuild or "";
          GOPROXY = "file:///srv/go/modules";
          outputHashMode = "recursive";
          outputHash = args.vendorHash;
          ${if args.vendorHash == "" then "outputHashAlgo" else null} = "sha256";
        }
      )
      ''
        ${begin}
        export GOCACHE=$TMPDIR/go-cache GOFLAGS=-modcacherw
        runHook preBuild
        go mod vendor
        cp -r vendor $out
      '';
in
run name
  (
    env
    // removeAttrs args [
      "env"
      "overrideModAttrs"
      "ldflags"
      "subPackages"
    ]
    // {
      inherit goModules;
      GOPROXY = "off";
      GOFLAGS = "-mod=vendor -trimpath";
      passthru = {
        inherit go;
      }
      // args.passthru or { };
    }
  )
  ''
    ${begin}
    export GOCACHE=/srv/go/build
    [ -w $GOCACHE ] || GOCACHE=$TMPDIR/go-cache
    cp -r --no-preserve=mode "$goModules" vendor
    ${
      args.buildPhase or ''
        runHook preBuild
        for pkg in ${toString (args.subPackages or [ "." ])}; do go install "./$pkg"; done
        runHook postBuild
      ''
    }
    mkdir -p $out
    cp -r "$GOPATH/bin" $out/
    runHook postInstall
    # nixpkgs' fixup compresses them.
    if [ -d $out/share/man ]; then find $out/share/man -type f ! -name '*.gz' -exec gzip -9n {} +; fi
    ! grep -rqF /usr/local/go $out || { echo "the build refers to Go" >&2; exit 1; }
  ''
