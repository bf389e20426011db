# The names that completion offers: hosts and VMs of the flake's `ferry` output, or
# the configurations of a flake without any. Applied to the outputs of a flake; no
# configuration is evaluated. What throws or has another type is left out.
outputs:
let
  inherit (builtins) attrNames filter isAttrs isList isString mapAttrs;

  attempt = value: let r = builtins.tryEval value; in if r.success then r.value else null;

  set = v: let s = attempt (if isAttrs v then v else null); in if s == null then { } else s;
  text = v: attempt (if isString v then builtins.unsafeDiscardStringContext v else null);
  texts = v:
    let l = attempt (if isList v then v else null);
    in if l == null then [ ] else filter (t: t != null) (map text l);

  ferry = set (outputs.ferry or null);
  vms = set (ferry.vms or null);
in
{
  hosts = mapAttrs (_: h: text ((set h).address or null)) (set (ferry.hosts or null));
  vms = mapAttrs
    (_: v:
      let vm = set v; in {
        host = text (vm.host or null);
        target = text (vm.target or null);
        tags = texts (vm.tags or null);
      })
    vms;
  configurations = if vms == { } then attrNames (set (outputs.nixosConfigurations or null)) else [ ];
}
