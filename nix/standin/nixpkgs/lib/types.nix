# The types of options: what each accepts, how definitions of it are merged, how a
# reference calls it.
{ lib }:
let
  inherit (builtins)
    all
    concatMap
    filter
    head
    isAttrs
    isBool
    isFloat
    isInt
    isList
    isPath
    isString
    map
    match
    substring
    ;
  inherit (lib) mergeEqualOption mergeOneOption showOption;

  # A description in a larger one: in parentheses where it has several parts.
  phrase =
    accepts: t:
    if accepts t.descriptionClass then t.description else "(${t.description})";
  noun = phrase (c: c == "noun");
  nounOrList = phrase (c: c == "noun" || c == "composite");
  operand = phrase (c: c == "noun" || c == "conjunction");

  checkDefs =
    loc: defs: t:
    lib.mergeDefinitions loc t defs;

  toStringable = x: isString x || isPath x || x ? outPath;
in
rec {
  mkOptionType =
    {
      name,
      description ? name,
      descriptionClass ? null,
      check ? _: true,
      merge ? lib.mergeDefaultOption,
      emptyValue ? { },
      getSubOptions ? _: { },
      getSubModules ? null,
      nestedTypes ? { },
      # extend is the type with further modules, where declarations of one option
      # may add up.
      extend ? null,
      substSubModules ? _: null,
      functor ? null,
      typeMerge ? null,
      deprecationMessage ? null,
    }@args:
    {
      _type = "option-type";
      inherit
        name
        description
        descriptionClass
        check
        merge
        emptyValue
        getSubOptions
        getSubModules
        nestedTypes
        extend
        ;
    };
  isOptionType = x: x._type or null == "option-type";

  raw = mkOptionType {
    name = "raw";
    description = "raw value";
    descriptionClass = "noun";
    merge = mergeOneOption;
  };
  unspecified = mkOptionType {
    name = "unspecified";
    description = "unspecified value";
    descriptionClass = "noun";
  };
  anything = mkOptionType {
    name = "anything";
    description = "anything";
    descriptionClass = "noun";
    merge =
      loc: defs:
      let
        values = lib.getValues defs;
        plainSet = v: isAttrs v && !(v ? outPath || v ? __toString);
      in
      if all plainSet values then
        (lazyAttrsOf anything).merge loc defs
      else if all builtins.isFunction values then
        x: anything.merge (loc ++ [ "<function body>" ]) (map (d: d // { value = d.value x; }) defs)
      else
        mergeEqualOption loc defs;
  };

  bool = mkOptionType {
    name = "bool";
    description = "boolean";
    descriptionClass = "noun";
    check = isBool;
    merge = mergeEqualOption;
  };
  boolByOr = bool // {
    name = "boolByOr";
    description = "boolean (merged using or)";
    merge = _: defs: builtins.any (d: d.value) defs;
  };
  int = mkOptionType {
    name = "int";
    description = "signed integer";
    descriptionClass = "noun";
    check = isInt;
    merge = mergeEqualOption;
  };
  float = mkOptionType {
    name = "float";
    description = "floating point number";
    descriptionClass = "noun";
    check = isFloat;
    merge = mergeEqualOption;
  };
  number = either int float;
  ints =
    let
      checked =
        name: description: pred:
        addCheck int pred // { inherit name description; descriptionClass = "nonRestrictiveClause"; };
      sized =
        bits: high:
        addCheck int (x: x >= 0 && x <= high)
        // {
          name = "unsignedInt${toString bits}";
          description = "${toString bits} bit unsigned integer; between 0 and ${toString high} (both inclusive)";
          descriptionClass = "noun";
        };
    in
    {
      between =
        low: high:
        assert low <= high;
        addCheck int (x: x >= low && x <= high)
        // {
          name = "intBetween";
          description = "integer between ${toString low} and ${toString high} (both inclusive)";
        };
      unsigned = checked "unsignedInt" "unsigned integer, meaning >=0" (x: x >= 0);
      positive = checked "positiveInt" "positive integer, meaning >0" (x: x > 0);
      u8 = sized 8 255;
      u16 = sized 16 65535;
      u32 = sized 32 4294967295;
    };
  port = ints.u16;

  str = mkOptionType {
    name = "str";
    description = "string";
    descriptionClass = "noun";
    check = isString;
    merge = mergeEqualOption;
  };
  nonEmptyStr = mkOptionType {
    name = "nonEmptyStr";
    description = "non-empty string";
    descriptionClass = "noun";
    check = x: isString x && match "[ \t\n]*" x == null;
    inherit (str) merge;
  };
  strMatching =
    pattern:
    mkOptionType {
      name = "strMatching ${builtins.toJSON pattern}";
      description = "string matching the pattern ${pattern}";
      descriptionClass = "noun";
      check = x: isString x && match pattern x != null;
      inherit (str) merge;
    };
  singleLineStr = strMatching "[^\n\r]*\n?" // {
    name = "singleLineStr";
    description = "(optionally newline-terminated) single-line string";
    descriptionClass = "noun";
  };
  separatedString =
    sep:
    mkOptionType {
      name = "separatedString";
      description = "strings concatenated with ${builtins.toJSON sep}";
      descriptionClass = "noun";
      check = isString;
      merge = _: defs: builtins.concatStringsSep sep (lib.getValues defs);
    };
  lines = separatedString "\n";
  commas = separatedString ",";
  path = mkOptionType {
    name = "path";
    description = "absolute path";
    descriptionClass = "noun";
    check = x: toStringable x && substring 0 1 (toString x) == "/";
    merge = mergeEqualOption;
  };
  pathInStore = path // {
    name = "pathInStore";
    description = "path in the Nix store";
    check = x: toStringable x && match "${builtins.storeDir}/[^.].*" (toString x) != null;
  };
  package = mkOptionType {
    name = "package";
    description = "package";
    descriptionClass = "noun";
    check = x: lib.isDerivation x || pathInStore.check x;
    merge = mergeOneOption;
  };
  shellPackage = package // {
    check = x: lib.isDerivation x && x ? shellPath;
  };

  enum =
    values:
    mkOptionType {
      name = "enum";
      description =
        let
          show = v: if isString v || isBool v then builtins.toJSON v else if v == null then "null" else toString v;
        in
        if values == [ ] then
          "impossible (empty enum)"
        else if builtins.length values == 1 then
          "value ${show (head values)} (singular enum)"
        else
          "one of ${lib.concatMapStringsSep ", " show values}";
      descriptionClass = if builtins.length values < 2 then "noun" else "conjunction";
      check = v: builtins.elem v values;
      merge = mergeEqualOption;
    };

  nullOr =
    t:
    mkOptionType {
      name = "nullOr";
      description = "null or ${operand t}";
      descriptionClass = "conjunction";
      check = x: x == null || t.check x;
      merge =
        loc: defs:
        let
          nulls = lib.count (d: d.value == null) defs;
        in
        if nulls == builtins.length defs then
          null
        else if nulls != 0 then
          throw "The option `${showOption loc}` is defined both null and not null, in ${lib.showFiles (lib.getFiles defs)}."
        else
          t.merge loc defs;
      emptyValue = {
        value = null;
      };
      inherit (t) getSubOptions getSubModules;
      extend = if t.extend == null then null else ms: nullOr (t.extend ms);
      nestedTypes.elemType = t;
    };
  either =
    t1: t2:
    mkOptionType {
      name = "either";
      description = "${operand t1} or ${
        phrase (c: c == "noun" || c == "conjunction" || c == "composite") t2
      }";
      descriptionClass = "conjunction";
      check = x: t1.check x || t2.check x;
      merge =
        loc: defs:
        let
          values = lib.getValues defs;
        in
        if all t1.check values then
          t1.merge loc defs
        else if all t2.check values then
          t2.merge loc defs
        else
          mergeOneOption loc defs;
      nestedTypes = {
        left = t1;
        right = t2;
      };
    };
  oneOf =
    ts:
    if ts == [ ] then
      throw "types.oneOf needs to get at least one type in its argument"
    else
      lib.foldl' either (head ts) (builtins.tail ts);
  coercedTo =
    from: f: to:
    mkOptionType {
      name = "coercedTo";
      description = "${noun to} or ${noun from} convertible to it";
      descriptionClass = "composite";
      check = x: (from.check x && to.check (f x)) || to.check x;
      merge =
        loc: defs:
        to.merge loc (map (d: d // { value = if from.check d.value then f d.value else d.value; }) defs);
      inherit (to) emptyValue getSubOptions getSubModules;
    };
  addCheck = t: pred: t // { check = x: t.check x && pred x; };
  unique =
    { message }:
    t: t // {
      merge =
        loc: defs:
        if builtins.length defs == 1 then
          t.merge loc defs
        else
          throw "The option `${showOption loc}' is defined multiple times. ${message}";
    };

  listOf =
    t:
    mkOptionType {
      name = "listOf";
      description = "list of ${nounOrList t}";
      descriptionClass = "composite";
      check = isList;
      merge =
        loc: defs:
        concatMap (x: lib.optional (x ? value) x.value) (
          lib.concatLists (
            lib.imap1 (
              n: def:
              lib.imap1 (
                m: value:
                (checkDefs (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) [
                  {
                    inherit (def) file;
                    inherit value;
                  }
                ] t).optionalValue
              ) def.value
            ) defs
          )
        );
      emptyValue = {
        value = [ ];
      };
      getSubOptions = prefix: t.getSubOptions (prefix ++ [ "*" ]);
      inherit (t) getSubModules;
      extend = if t.extend == null then null else ms: listOf (t.extend ms);
      nestedTypes.elemType = t;
    };
  nonEmptyListOf =
    t:
    addCheck (listOf t) (l: l != [ ])
    // {
      description = "non-empty ${noun (listOf t)}";
      emptyValue = { };
    };

  attrsWith =
    {
      elemType,
      lazy ? false,
      placeholder ? "name",
    }:
    mkOptionType {
      name = if lazy then "lazyAttrsOf" else "attrsOf";
      description = "${lib.optionalString lazy "lazy "}attribute set of ${nounOrList elemType}";
      descriptionClass = "composite";
      check = isAttrs;
      merge =
        loc: defs:
        let
          merged = builtins.zipAttrsWith (name: ds: checkDefs (loc ++ [ name ]) ds elemType) (
            concatMap (
              def:
              map
                (builtins.mapAttrs (
                  _: value: {
                    inherit (def) file;
                    inherit value;
                  }
                ))
                (lib.pushDownProperties def.value)
            ) defs
          );
        in
        if lazy then
          builtins.mapAttrs (_: m: m.optionalValue.value or elemType.emptyValue.value or m.mergedValue) merged
        else
          builtins.mapAttrs (_: m: m.optionalValue.value) (
            lib.filterAttrs (_: m: m.optionalValue ? value) merged
          );
      emptyValue = {
        value = { };
      };
      getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<${placeholder}>" ]);
      inherit (elemType) getSubModules;
      extend =
        if elemType.extend == null then
          null
        else
          ms:
          attrsWith {
            elemType = elemType.extend ms;
            inherit lazy placeholder;
          };
      nestedTypes.elemType = elemType;
    };
  attrsOf = elemType: attrsWith { inherit elemType; };
  lazyAttrsOf =
    elemType:
    attrsWith {
      inherit elemType;
      lazy = true;
    };
  attrs = mkOptionType {
    name = "attrs";
    description = "attribute set";
    descriptionClass = "noun";
    check = isAttrs;
    merge = _: defs: lib.mergeAttrsList (lib.getValues defs);
    emptyValue = {
      value = { };
    };
  };

  functionTo =
    t:
    mkOptionType {
      name = "functionTo";
      description = "function that evaluates to a(n) ${noun t}";
      descriptionClass = "composite";
      check = lib.isFunction;
      merge =
        loc: defs: x:
        (checkDefs (loc ++ [ "<function body>" ]) (map (d: d // { value = d.value x; }) defs) t)
        .mergedValue;
      nestedTypes.elemType = t;
    };
  optionType = mkOptionType {
    name = "optionType";
    description = "optionType";
    descriptionClass = "noun";
    check = isOptionType;
    merge = loc: defs: if builtins.length defs == 1 then (head defs).value else mergeOneOption loc defs;
  };
  deferredModuleWith =
    {
      staticModules ? [ ],
    }:
    mkOptionType {
      name = "deferredModule";
      description = "module";
      descriptionClass = "noun";
      check = x: isAttrs x || lib.isFunction x || isPath x || isString x;
      merge = loc: defs: {
        imports =
          staticModules
          ++ map (d: lib.setDefaultModuleLocation "${d.file}, via option ${showOption loc}" d.value) defs;
      };
    };
  deferredModule = deferredModuleWith { };

  submoduleWith =
    {
      modules,
      specialArgs ? { },
      shorthandOnlyDefinesConfig ? false,
      description ? null,
      class ? null,
    }@args:
    let
      asModule =
        def:
        if isAttrs def.value && shorthandOnlyDefinesConfig then
          {
            _file = def.file;
            config = def.value;
          }
        else
          lib.setDefaultModuleLocation def.file def.value;
      evaluated =
        prefix: name: extra:
        lib.evalModules {
          inherit specialArgs prefix;
          modules = [ { _module.args.name = lib.mkOptionDefault name; } ] ++ modules ++ extra;
        };
      freeform = (evaluated [ ] "‹name›" [ ])._module.freeformType;
    in
    mkOptionType {
      name = "submodule";
      description =
        if description != null then
          description
        else if freeform == null then
          "submodule"
        else
          "open submodule of ${nounOrList freeform}";
      descriptionClass = if freeform == null then null else "composite";
      check = x: isAttrs x || lib.isFunction x || isPath x;
      merge = loc: defs: (evaluated loc (lib.last loc) (map asModule defs)).config;
      emptyValue = {
        value = { };
      };
      getSubOptions =
        prefix:
        builtins.removeAttrs (evaluated prefix "‹name›" [ { _module.check = false; } ]).options [ "_module" ];
      getSubModules = modules;
      extend = ms: submoduleWith (args // { modules = modules ++ ms; });
    };
  submodule =
    module:
    submoduleWith {
      shorthandOnlyDefinesConfig = true;
      modules = lib.toList module;
    };
}
