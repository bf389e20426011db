# What ferry wants to know of the MicroVMs in `names`, and the flake's `ferry`
# output. Applied to the outputs of a flake; nothing else in them is evaluated.
#
# Only config.microvm.declaredRunner has to be there, and it may be any
# derivation. What is missing, throws or has another type is left out, since the
# record only adds to what the built runner says.
#
# Strings lose their context, so that printing them builds and copies nothing.
# The .drv files are written all the same: by evaluating drvPath.
{ names }:
outputs:
let
  inherit (builtins) attrNames filter isAttrs isBool isInt isList isString listToAttrs map;

  plain = builtins.unsafeDiscardStringContext;

  # The value, or null where evaluating it throws.
  attempt = value: let r = builtins.tryEval value; in if r.success then r.value else null;

  text = v: attempt (if isString v then plain v else null);
  int = v: attempt (if isInt v then v else null);
  bool = v: attempt (if isBool v then v else null);
  list = item: v:
    let l = attempt (if isList v then v else null);
    in if l == null then [ ] else map item l;

  # The attributes that are strings; null where there are none.
  texts = v:
    let
      set = attempt (if isAttrs v then v else null);
      found = if set == null then { } else present (builtins.mapAttrs (_: text) set);
    in if found == { } then null else found;

  inStore = s:
    let prefix = builtins.storeDir + "/";
    in builtins.substring 0 (builtins.stringLength prefix) s == prefix;

  # A path in the store, of a package, a string or a path; the output of a
  # content-addressed derivation is a placeholder and does not count.
  storePath = v: attempt (
    let s = plain (toString v);
    in if (isString v || builtins.isPath v || isDerivation v) && inStore s then s else null
  );

  isDerivation = v: isAttrs v && v ? drvPath && v ? outPath;

  present = set: removeAttrs set (filter (n: set.${n} == null) (attrNames set));

  output = d: present {
    drv = plain d.drvPath;
    out = let out = plain d.outPath; in if inStore out then out else null;
  };

  # Why `runner` cannot be deployed, or null.
  obstacle = runner:
    if runner == null then "it does not define config.microvm.declaredRunner"
    else if !(isDerivation runner) then "its config.microvm.declaredRunner is a ${builtins.typeOf runner}, not a derivation"
    else if (runner.outputName or "out") != "out" then "its config.microvm.declaredRunner is the output `${text runner.outputName}` of a derivation, not `out`"
    else null;

  record = name: config:
    let
      microvm = config.microvm or { };
      toplevel = config.system.build.toplevel or null;
      # It may fail where the runner does without it.
      system = attempt (
        if isDerivation toplevel then output toplevel else null
      );
    in
    present {
      inherit name system;
      hostName = text (config.networking.hostName or null);
      runner = output microvm.declaredRunner;
      hypervisor = text (microvm.hypervisor or null);
      mem = int (microvm.mem or null);
      vcpu = int (microvm.vcpu or null);
      volumes = list
        (v: present {
          image = text (v.image or null);
          mountPoint = text (v.mountPoint or null);
          size = int (v.size or null);
        })
        (microvm.volumes or null);
      shares = list
        (s: present {
          tag = text (s.tag or null);
          proto = text (s.proto or null);
          source = text (s.source or null);
          mountPoint = text (s.mountPoint or null);
        })
        (microvm.shares or null);
      interfaces = list
        (i: present {
          id = text (i.id or null);
          type = text (i.type or null);
          mac = text (i.mac or null);
        })
        (microvm.interfaces or null);
      kernel = storePath (microvm.kernel or null);
      initrd = storePath (microvm.initrdPath or null);
      vsockCid = int (microvm.vsock.cid or null);
      ssh = bool (config.services.openssh.enable or null);
      switchEnabled = bool (config.system.switch.enable or null);
      # A list, as it was before, isn't compared by name.
      switchInhibitors = texts (config.system.switch.inhibitors or null);
      # What is read at each start may change though the runner does not.
      credentialFiles =
        let files = attempt (microvm.credentialFiles or null);
        in if isAttrs files && files != { } then attrNames files else null;
      extraArgsScript = if text (microvm.extraArgsScript or null) != null then true else null;
    };

  configurations =
    let c = outputs.nixosConfigurations or null;
    in if isAttrs c then c else { };

  vm = name:
    if !(configurations ? ${name}) then { missing = attrNames configurations; }
    else
      let
        config = configurations.${name}.config or { };
        reason = obstacle (config.microvm.declaredRunner or null);
      in
      if reason != null then { obstacle = reason; }
      else {
        record = record name config;
        # The runner may do without the system, which then is left out: say so.
        brokenSystem = !(builtins.tryEval
          (builtins.seq (config.system.build.toplevel.drvPath or null) true)).success;
      };
in
{
  vms = listToAttrs (map (name: { inherit name; value = vm name; }) names);
  ferry = outputs.ferry or null;
}
