# The properties of definitions: conditions, priorities, order.
{ lib }:
let
  inherit (builtins) concatMap elem filter foldl' map sort;
  isType = type: x: (x._type or null) == type;
in
rec {
  inherit isType;
  setType = type: attrs: attrs // { _type = type; };
  typeOf = x: x._type or (builtins.typeOf x);

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  defaultOverridePriority = 100;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkImageMediaOverride = mkOverride 60;
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  defaultOrderPriority = 1000;
  mkDefinition = args: args // { _type = "definition"; };
  mkAssert =
    assertion: message: content:
    mkIf (if assertion then true else throw "\nFailed assertion: ${message}") content;

  # pushDownProperties moves what surrounds a set of definitions into it, one
  # level: a list of plain sets. No condition is looked at.
  pushDownProperties =
    cfg:
    if isType "merge" cfg then
      concatMap pushDownProperties cfg.contents
    else if isType "if" cfg then
      map (builtins.mapAttrs (_: v: mkIf cfg.condition v)) (pushDownProperties cfg.content)
    else if isType "override" cfg then
      map (builtins.mapAttrs (_: v: mkOverride cfg.priority v)) (pushDownProperties cfg.content)
    else
      [ cfg ];

  # dischargeProperties is what is left of a definition: no values, or several.
  dischargeProperties =
    def:
    if isType "merge" def then
      concatMap dischargeProperties def.contents
    else if isType "if" def then
      if builtins.isBool def.condition then
        (if def.condition then dischargeProperties def.content else [ ])
      else
        throw "‘mkIf’ called with a non-Boolean condition"
    else
      [ def ];

  # filterOverrides' keeps the definitions of the highest priority, which is the
  # lowest number.
  filterOverrides' =
    defs:
    let
      prio = def: if isType "override" def.value then def.value.priority else defaultOverridePriority;
      highestPrio = foldl' (p: def: lib.min p (prio def)) 9999 defs;
      strip = def: if isType "override" def.value then def // { value = def.value.content; } else def;
    in
    {
      values = map strip (filter (def: prio def == highestPrio) defs);
      inherit highestPrio;
    };
  filterOverrides = defs: (filterOverrides' defs).values;

  sortProperties =
    defs:
    let
      prio = def: if isType "order" def.value then def.value.priority else defaultOrderPriority;
      strip = def: if isType "order" def.value then def // { value = def.value.content; } else def;
    in
    if builtins.any (def: isType "order" def.value) defs then
      map strip (sort (a: b: prio a < prio b) defs)
    else
      defs;

  mkAliasDefinitions = mkAliasAndWrapDefinitions (x: x);
  mkAliasAndWrapDefinitions =
    wrap: option: mkIf (option.isDefined or false) (wrap (mkMerge option.definitions));
}
