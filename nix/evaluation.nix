# What an evaluation has found out of one VM, as a file for `ferry … --evaluation`:
# the values of ../internal/flake/record.nix, and where they come from. Only what is
# asked for here is evaluated.
#
# The file keeps the derivations in the store as long as it is there, and whatever
# refers to it: they are what ferry copies to the host. Their outputs are neither
# built nor kept. What is built with it has them all as inputs; a sandbox takes a
# tenth of a second for a thousand of them.
{
  # In nixosConfigurations; `configuration` is that.
  name,
  configuration,
  # The `ferry` output, as far as it is about this VM; null: there is none.
  fleet ? null,
  # Of the flake: its address, commit, and seconds since 1970; null: not known.
  url ? null,
  revision ? null,
  lastModified ? null,
}:
let
  # Counted up with internal/flake/given.go.
  version = 1;

  found =
    import ../internal/flake/record.nix { names = [ name ]; } {
      nixosConfigurations.${name} = configuration;
      ferry = fleet;
    };

  vm = found.vms.${name};
  record = vm.record or (throw "nixosConfigurations.${name} is not a MicroVM: ${vm.obstacle}");
  derivations = [ record.runner.drv ] ++ (if record ? system then [ record.system.drv ] else [ ]);

  known = set: removeAttrs set (builtins.filter (n: set.${n} == null) (builtins.attrNames set));

  text = builtins.unsafeDiscardStringContext (
    builtins.toJSON (
      found
      // {
        inherit version;
        # Forces the record, where it is missing.
        vms = builtins.seq record found.vms;
      }
      // known {
        flake = url;
        inherit revision lastModified;
      }
    )
  );
in
builtins.toFile "ferry-evaluation-${name}.json" (
  # `path`: the .drv file itself, as builtins.unsafeDiscardOutputDependency has it.
  builtins.foldl' (kept: drv: builtins.appendContext kept { ${drv}.path = true; }) text derivations
)
