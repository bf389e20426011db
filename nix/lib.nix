# The flake's `lib`. `ferry` is the flake.
{ ferry }:
let
  platforms = [
    "x86_64-linux"
    "aarch64-linux"
    "x86_64-darwin"
    "aarch64-darwin"
  ];

  # `--flake` for a flake that is in the store already, with what it says of itself
  # (Nix manual, "nix flake": path references).
  storeRef =
    self:
    let
      root = "${self.sourceInfo or self}";
      dir = builtins.substring (builtins.stringLength root + 1) (-1) "${self}";
      inQuery =
        builtins.replaceStrings [ "%" "+" "=" "&" " " "#" "'" ] [ "%25" "%2B" "%3D" "%26" "%20" "%23" "%27" ];
      words = builtins.concatMap (
        { name, value }: if value == null || value == "" then [ ] else [ "${name}=${inQuery (toString value)}" ]
      );
    in
    "path:${root}?"
    + builtins.concatStringsSep "&" (words [
      { name = "dir"; value = dir; }
      { name = "lastModified"; value = self.lastModified or null; }
      { name = "narHash"; value = self.narHash or null; }
      { name = "rev"; value = self.rev or null; }
    ]);
in
{
  # The apps of a flake with a `ferry` output, by the operator's platform:
  #   apps = ferry.lib.apps { inherit self; };
  # `microvm-update-NAME` and `rebuild-NAME` for each of ferry.vms, and `deploy`. Only
  # the VM whose app is run is evaluated.
  apps =
    {
      self,
      # The operators' platforms: those that this nixpkgs has (x86_64-darwin goes).
      systems ? builtins.filter (system: nixpkgs.legacyPackages ? ${system}) platforms,
      # Whose shell the apps are written for.
      nixpkgs ? ferry.inputs.nixpkgs,
      # The flake's address, for the history on hosts.
      url ? null,
    }:
    let
      fleet = self.ferry or { };
      # As in all of the output, null stands for what is not set.
      vms = if (fleet.vms or null) == null then { } else fleet.vms;

      # What the `ferry` output says of one VM.
      partOf =
        name:
        let
          vm = vms.${name};
          hosts = fleet.hosts or { };
          host = vm.host or null;
        in
        {
          vms.${name} = vm;
          # All of them, for the message, where its own is not there.
          hosts =
            if host == null then
              { }
            else if builtins.isString host && hosts ? ${host} then
              { ${host} = hosts.${host}; }
            else
              hosts;
        };

      configurationOf =
        name:
        let
          all = self.nixosConfigurations or { };
        in
        all.${name} or (throw ''
          ferry.vms.${name} is in the flake's `ferry` output, but the flake has no nixosConfigurations.${name}; there are: ${
            builtins.concatStringsSep ", " (builtins.attrNames all)
          }'');

      evaluationOf =
        name:
        import ./evaluation.nix {
          inherit name url;
          configuration = configurationOf name;
          fleet = partOf name;
          revision = self.rev or self.dirtyRev or null;
          lastModified = self.lastModified or null;
        };

      appsFor =
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
          program = "${ferry.packages.${system}.ferry}/bin/ferry";
          app = name: description: line: {
            type = "app";
            program = "${pkgs.writeShellScriptBin name ''${line} "$@"''}/bin/${name}";
            meta = { inherit description; };
          };
          rebuild =
            prefix: name:
            let
              app' = "${prefix}-${name}";
              evaluation = evaluationOf name;
            in
            {
              name = app';
              # As in ./modules/deploy.nix, ferry's environment keeps the derivations.
              value = app app' "Build, install and activate the VM ${name}" "FERRY_KEEPS=${evaluation} exec ${program} rebuild '${name}' --evaluation ${evaluation}";
            };
          names = builtins.attrNames vms;
        in
        builtins.listToAttrs (map (rebuild "microvm-update") names ++ map (rebuild "rebuild") names)
        // {
          deploy = app "deploy" "Build, install and activate VMs of this flake" "exec ${program} rebuild --flake '${storeRef self}'";
        };
    in
    builtins.listToAttrs (
      map (system: {
        name = system;
        value = appsFor system;
      }) systems
    );
}
