# ferry, with the helpers for hosts inside: what `make build` makes. `build` says
# which commit it is (./build.nix).
{
  lib,
  build,
  go,
  buildGoModule,
  # Where nixpkgs' usual Go is older than ferry needs.
  go_latest ? go,
  buildGoLatestModule ? buildGoModule,
}:
let
  vendor = import ./vendor-hash.nix;
  mod = builtins.readFile ../go.mod;
  sums = builtins.hashString "sha256" (mod + builtins.readFile ../go.sum);

  # The line `go 1.26.0`.
  needed = lib.removePrefix "go " (
    lib.findFirst (lib.hasPrefix "go ") "go 1" (lib.splitString "\n" mod)
  );
  builder =
    if lib.versionAtLeast go.version needed then
      buildGoModule
    else if lib.versionAtLeast go_latest.version needed then
      buildGoLatestModule
    else
      throw "ferry needs Go ${needed}, and this nixpkgs has ${go_latest.version}: update the input `nixpkgs`, or let it follow nixos-unstable";

  # A part of ferry's tree. Not all of it, so that what goes on elsewhere (documents,
  # tests, these files) doesn't build ferry again.
  tree =
    wanted:
    builtins.path {
      path = ../.;
      name = "ferry-source";
      filter =
        file: type:
        let
          inside = lib.removePrefix "${toString ../.}/" (toString file);
        in
        wanted inside type;
    };
  isModule =
    inside:
    builtins.elem inside [
      "go.mod"
      "go.sum"
    ];
  under = folders: inside: builtins.any (f: inside == f || lib.hasPrefix "${f}/" inside) folders;

  # What `ferry explain` prints.
  explained =
    inside:
    builtins.elem inside [
      "docs"
      "docs/docs.go"
      "docs/troubleshooting.md"
    ];

  # What the programs are made of.
  source = tree (
    inside: _:
    isModule inside
    || explained inside
    || (
      under [
        "cmd"
        "internal"
      ] inside
      && !under [
        "cmd/lab"
        "internal/lab"
      ] inside
      && !lib.hasSuffix "_test.go" inside
    )
  );

  # What `go mod vendor` goes by: all imports, those of tests as well.
  imports = tree (
    inside: type:
    isModule inside
    || explained inside
    || (
      under [
        "cmd"
        "internal"
        "test"
        "docs"
      ] inside
      && (type == "directory" || lib.hasSuffix ".go" inside)
    )
  );

  stamp = lib.concatStringsSep " " (
    lib.optional (build.commit != "") "-commit ${build.commit}"
    ++ lib.optional (build.date != "") "-date ${build.date}"
    ++ lib.optional build.modified "-modified"
  );
in
builder {
  pname = "ferry";
  inherit (build) version;

  src = source;

  # The name changes with the modules: else Nix would go on with a folder that it has
  # for the same hash. It doesn't change with ferry's version.
  vendorHash =
    if vendor.sums == sums then
      vendor.hash
    else
      throw "go.mod or go.sum has changed, and nix/vendor-hash.nix has not: run `make vendor-hash`";
  overrideModAttrs = _: {
    name = "ferry-${builtins.substring 0 12 sums}-go-modules";
    src = imports;
  };

  env.CGO_ENABLED = 0;

  # Helpers for two platforms, put into a ferry for a third: internal/release knows
  # how. cmd/build itself runs on the machine that builds. -mod and -trimpath are in
  # what it does; a -buildmode=pie, which would make the helpers need a linker of the
  # host, must not be.
  buildPhase = ''
    runHook preBuild

    export GOFLAGS=-mod=vendor
    platform=$GOOS/$GOARCH
    GOOS=$(go env GOHOSTOS) GOARCH=$(go env GOHOSTARCH) \
      go run -trimpath ./cmd/build -for "$platform" -o "$GOPATH/bin/ferry" ${stamp}

    runHook postBuild
  '';

  # Man pages and completions don't depend on the platform.
  postInstall = lib.optionalString (builtins.pathExists ../cmd/docs) ''
    GOOS=$(go env GOHOSTOS) GOARCH=$(go env GOHOSTARCH) go run -trimpath ./cmd/docs -o "$out"
  '';

  # They are not in `source`; those that need no lab run with `make unit`.
  doCheck = false;

  # Linked without symbols already, and what strip does to a signed program for macOS
  # would have to be mended.
  dontStrip = true;

  meta = {
    description = "Deploys NixOS MicroVMs over SSH, and live where it can";
    license = lib.licenses.mit;
    mainProgram = "ferry";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
      "x86_64-darwin"
      "aarch64-darwin"
    ];
  };
}
