# Evaluating modules: what they import, what they declare, what they define.
{ lib }:
let
  inherit (builtins)
    all
    any
    attrNames
    concatMap
    elem
    filter
    hasAttr
    head
    isAttrs
    isPath
    isString
    length
    map
    mapAttrs
    removeAttrs
    ;
  inherit (lib) isOption showOption showFiles showDefs types;

  known = [
    "_class"
    "_file"
    "key"
    "disabledModules"
    "imports"
    "options"
    "config"
    "meta"
    "freeformType"
  ];

  # unify gives every module one shape. A module without `config` and `options`
  # is its own `config`.
  unify =
    file: key: m:
    if !isAttrs m then
      throw "module ${file} (${key}) does not look like a module."
    else if m._type or "" != "" && !(m ? imports || m ? config || m ? options) then
      if m._type == "if" || m._type == "override" || m._type == "merge" then
        { inherit file key; imports = [ ]; options = { }; config = m; freeformType = null; }
      else
        throw "Could not load a value as a module, because it is of type ${builtins.toJSON m._type}, in file ${file}."
    else if m ? config || m ? options then
      let
        unknown = removeAttrs m known;
      in
      if unknown != { } then
        throw "Module `${key}' has an unsupported attribute `${head (attrNames unknown)}'. This is caused by introducing a top-level `config' or `options' attribute. Add configuration attributes immediately on the top level instead, or move all of them (namely: ${toString (attrNames unknown)}) into the explicit `config' attribute."
      else
        {
          file = toString m._file or file;
          key = toString m.key or key;
          imports = m.imports or [ ];
          options = m.options or { };
          config = m.config or { };
          freeformType = m.freeformType or null;
        }
    else
      {
        file = toString m._file or file;
        key = toString m.key or key;
        imports = m.imports or [ ];
        options = { };
        config = removeAttrs m known;
        freeformType = m.freeformType or null;
      };

  # applyArgs calls a module that is a function with what it names, each looked up
  # only when it is used.
  applyArgs =
    file: key: args: f:
    if lib.isFunction f then
      f (
        args
        // mapAttrs (
          name: _:
          builtins.addErrorContext "while evaluating the module argument `${name}' in \"${key}\":" (
            args.${name} or args.config._module.args.${name}
          )
        ) (lib.functionArgs f)
      )
    else
      f;

  # load is one module; `imports` are still to be loaded.
  load =
    args: parentFile: parentKey: n: m:
    let
      isFile = isPath m || isString m;
      file = if isFile then toString m else parentFile;
      key = if isFile then toString m else "${parentKey}:anon-${toString n}";
    in
    if builtins.isList m then
      throw "Module imports can't be nested lists. Perhaps you meant to remove one level of lists? Definitions: in ${parentFile}"
    else
      unify file key (applyArgs file key args (if isFile then import m else m));

  # collect is all modules and what they import, each file once however often it
  # is imported. What comes later defines first.
  collect =
    args: modules:
    let
      entries =
        file: key: ms:
        lib.imap1 (
          n: m:
          let
            val = load args file key n m;
          in
          {
            inherit (val) key;
            inherit val;
          }
        ) ms;
    in
    lib.reverseList (
      map (x: x.val) (
        builtins.genericClosure {
          startSet = entries "<unknown-file>" "" modules;
          operator = x: entries x.val.file x.val.key x.val.imports;
        }
      )
    );

  internal =
    { config, ... }:
    {
      _file = "lib/modules.nix";
      key = "lib/modules.nix";
      options._module = {
        args = lib.mkOption {
          type = types.lazyAttrsOf types.raw;
          default = { };
          internal = true;
          description = "Additional arguments passed to each module.";
        };
        check = lib.mkOption {
          type = types.bool;
          default = true;
          internal = true;
          description = "Whether to check whether all option definitions have matching declarations.";
        };
        freeformType = lib.mkOption {
          type = types.nullOr types.optionType;
          default = null;
          internal = true;
          description = "The type of definitions without an option.";
        };
        specialArgs = lib.mkOption {
          type = types.raw;
          readOnly = true;
          internal = true;
          description = "Arguments that can be used in imports.";
        };
      };
    };

  # mergeTree puts declarations and definitions of one level together. `decls` are
  # {file, options}, `defs` are {file, config}.
  mergeTree =
    prefix: decls: defs:
    let
      declared = builtins.zipAttrsWith (_: vs: vs) (
        map (
          d:
          if isAttrs d.options then
            mapAttrs (_: value: { inherit (d) file; inherit value; }) d.options
          else
            throw "The option `${showOption prefix}' in module `${d.file}' has a value that is not an attribute set."
        ) decls
      );
      defined = builtins.zipAttrsWith (_: vs: vs) (
        concatMap (
          d:
          map (
            plain:
            if isAttrs plain then
              mapAttrs (_: value: { inherit (d) file; inherit value; }) plain
            else
              throw "You're trying to declare a value of type `${builtins.typeOf plain}' rather than an attribute-set for the option `${showOption prefix}'! This usually happens if `${showOption prefix}' has option definitions inside that are not matched. Please check how to properly define this option by e.g. referring to `man 5 configuration.nix'! (in `${d.file}')"
          ) (lib.pushDownProperties d.config)
        ) defs
      );
      results = mapAttrs (
        name: ds:
        let
          loc = prefix ++ [ name ];
          opts = filter (d: isOption d.value) ds;
          definitions = defined.${name} or [ ];
        in
        if length opts == length ds then
          {
            option = evalOption loc (mergeDecls loc ds) definitions;
            unmatched = [ ];
          }
        else if opts != [ ] then
          throw "The option `${showOption loc}' in `${(head opts).file}' would be a parent of the following options, but its type does not support nested options: in ${showFiles (map (d: d.file) (filter (d: !isOption d.value) ds))}"
        else
          mergeTree loc (map (d: { inherit (d) file; options = d.value; }) ds) (
            map (d: { inherit (d) file; config = d.value; }) definitions
          )
      ) declared;
      config = mapAttrs (_: r: if r ? option then r.option.value else r.config) results;
      options = mapAttrs (_: r: if r ? option then r.option else r.options) results;
      unmatchedHere = lib.concatLists (
        lib.mapAttrsToList (
          name: ds: map (d: d // { loc = prefix ++ [ name ]; }) ds
        ) (removeAttrs defined (attrNames declared))
      );
    in
    {
      inherit config options;
      unmatched = unmatchedHere ++ concatMap (r: r.unmatched) (builtins.attrValues results);
    };

  # mergeDecls: several declarations of one option add up where their types do.
  mergeDecls =
    loc: ds:
    lib.foldl' (
      acc: d:
      let
        clash =
          throw "The option `${showOption loc}' in `${d.file}' is already declared in ${showFiles acc.declarations}.";
        type =
          if !(d.value ? type) then
            acc.type or null
          else if !(acc ? type) then
            d.value.type
          else if acc.type.extend != null && d.value.type.extend != null && acc.type.name == d.value.type.name then
            acc.type.extend d.value.type.getSubModules
          else
            clash;
        twice = filter (a: acc ? ${a} && d.value ? ${a}) [
          "default"
          "defaultText"
          "example"
          "description"
          "apply"
        ];
      in
      if twice != [ ] && acc.declarations != [ ] then
        clash
      else
        acc
        // d.value
        // lib.optionalAttrs (type != null) { inherit type; }
        // {
          declarations = acc.declarations ++ [ d.file ];
        }
    ) { inherit loc; declarations = [ ]; } ds;

  evalOption =
    loc: opt: defs:
    let
      type = opt.type or types.unspecified;
      withDefault =
        lib.optional (opt ? default) {
          file = head opt.declarations;
          value = lib.mkOptionDefault opt.default;
        }
        ++ defs;
      merged =
        if opt.readOnly or false && length withDefault > 1 then
          throw "The option `${showOption loc}' is read-only, but it's set multiple times. Definition values:${showDefs withDefault}"
        else
          mergeDefinitions loc type withDefault;
      value = builtins.addErrorContext "while evaluating the option `${showOption loc}':" (
        if opt ? apply then opt.apply merged.mergedValue else merged.mergedValue
      );
    in
    opt
    // {
      inherit value type loc;
      inherit (merged) isDefined;
      definitions = lib.getValues merged.defsFinal;
      files = lib.getFiles merged.defsFinal;
      definitionsWithLocations = merged.defsFinal;
      highestPrio = merged.highestPrio;
      options = type.getSubOptions loc;
      __toString = _: showOption loc;
    };

  mergeDefinitions = loc: type: defs: rec {
    discharged = concatMap (
      d: map (value: { inherit (d) file; inherit value; }) (lib.dischargeProperties d.value)
    ) defs;
    overridden = lib.filterOverrides' discharged;
    inherit (overridden) highestPrio;
    defsFinal = lib.sortProperties overridden.values;
    isDefined = defsFinal != [ ];
    mergedValue =
      if isDefined then
        if all (d: type.check d.value) defsFinal then
          type.merge loc defsFinal
        else
          throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition values:${
            showDefs (filter (d: !type.check d.value) defsFinal)
          }"
      else
        throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option.";
    optionalValue = lib.optionalAttrs isDefined { value = mergedValue; };
  };
in
{
  inherit mergeDefinitions;

  setDefaultModuleLocation = file: m: {
    _file = file;
    imports = [ m ];
  };

  mkRemovedOptionModule = from: instead: { config, options, ... }: {
    options = lib.setAttrByPath from (
      lib.mkOption {
        visible = false;
        description = "Removed.";
        apply = _: throw "The option `${showOption from}' can no longer be used since it's been removed. ${instead}";
      }
    );
  };

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
      class ? null,
      check ? null,
      args ? null,
    }:
    let
      moduleArgs = {
        inherit lib config options;
      }
      // specialArgs;
      collected = collect moduleArgs (
        modules
        ++ [
          internal
          {
            _file = "lib/modules.nix";
            _module.specialArgs = specialArgs;
          }
        ]
      );
      tree = mergeTree prefix (map (m: { inherit (m) file options; }) collected) (
        map (m: { inherit (m) file config; }) (
          collected
          ++ map (m: { inherit (m) file; config = { _module.freeformType = m.freeformType; }; }) (
            filter (m: m.freeformType != null) collected
          )
        )
      );
      inherit (tree) options;
      freeformType = tree.config._module.freeformType;
      freeform =
        if freeformType == null then
          { }
        else
          freeformType.merge prefix (
            map (u: {
              inherit (u) file;
              value = lib.setAttrByPath (lib.drop (length prefix) u.loc) u.value;
            }) tree.unmatched
          );
      config = if freeformType == null then tree.config else lib.recursiveUpdate freeform tree.config;
      missing = head tree.unmatched;
      checked =
        if tree.config._module.check && freeformType == null && tree.unmatched != [ ] then
          throw "The option `${showOption missing.loc}' does not exist. Definition values:${showDefs [ missing ]}"
        else
          removeAttrs config [ "_module" ];
      result = {
        inherit options;
        config = checked;
        _module = tree.config._module;
        _type = "configuration";
        type = types.submoduleWith { inherit modules specialArgs; };
        extendModules =
          {
            modules ? [ ],
            specialArgs ? { },
            prefix ? [ ],
          }@more:
          lib.evalModules {
            modules = given ++ more.modules or [ ];
            specialArgs = givenArgs // more.specialArgs or { };
            prefix = more.prefix or prefix;
          };
      };
      given = modules;
      givenArgs = specialArgs;
    in
    result;
}
