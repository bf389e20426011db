# Declaring options, naming them, and listing them for a reference.
{ lib }:
let
  inherit (builtins)
    concatLists
    concatMap
    concatStringsSep
    elem
    isAttrs
    isList
    isString
    map
    match
    ;
  isOption = lib.isType "option";
in
rec {
  inherit isOption;

  mkOption = attrs: attrs // { _type = "option"; };

  mkEnableOption =
    name:
    mkOption {
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
      type = lib.types.bool;
    };

  mkPackageOption =
    pkgs: name:
    {
      nullable ? false,
      default ? name,
      example ? null,
      extraDescription ? "",
      pkgsText ? "pkgs",
    }:
    let
      path = if isList default then default else [ default ];
      defaultPath = concatStringsSep "." path;
    in
    mkOption (
      {
        type = if nullable then lib.types.nullOr lib.types.package else lib.types.package;
        description =
          "The ${if isList name then lib.last name else name} package to use."
          + lib.optionalString (extraDescription != "") " ${extraDescription}";
      }
      // (
        if default == null then
          { default = null; }
        else
          {
            default = lib.attrByPath path (throw "${defaultPath} cannot be found in ${pkgsText}") pkgs;
            defaultText = literalExpression "${pkgsText}.${defaultPath}";
          }
      )
      // lib.optionalAttrs (example != null) {
        example = literalExpression (
          if isList example then "${pkgsText}.${concatStringsSep "." example}" else example
        );
      }
    );

  literalExpression =
    text:
    if isString text then
      {
        _type = "literalExpression";
        inherit text;
      }
    else
      throw "literalExpression expects a string.";
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };
  mdDoc = text: text;

  showOption =
    parts:
    let
      quote =
        part:
        if elem part [ "*" "<name>" "<function body>" ] || match "[a-zA-Z_][a-zA-Z0-9_'-]*" part != null then
          part
        else
          builtins.toJSON part;
    in
    concatStringsSep "." (map quote parts);
  showFiles = files: lib.concatMapStringsSep " and " (f: "`${f}'") files;

  # showDefs lists definitions for messages, each with the file that it is in.
  showDefs =
    defs:
    lib.concatMapStrings (
      def:
      let
        shown = builtins.tryEval (lib.generators.toPretty { } def.value);
      in
      "\n- In `${toString def.file}'" + lib.optionalString shown.success ": ${shown.value}"
    ) defs;
  generators.toPretty =
    _:
    let
      pretty =
        depth: v:
        if builtins.isFunction v then
          "<function>"
        else if lib.isDerivation v then
          "<derivation ${v.name or "???"}>"
        else if isAttrs v then
          (
            if depth > 3 then
              "{ … }"
            else if v == { } then
              "{ }"
            else
              "{ ${lib.concatMapStrings (n: "${n} = ${pretty (depth + 1) v.${n}}; ") (builtins.attrNames v)}}"
          )
        else if isList v then
          (if v == [ ] then "[ ]" else "[ ${lib.concatMapStrings (x: pretty (depth + 1) x + " ") v}]")
        else if v == null then
          "null"
        else if isString v || builtins.isBool v then
          builtins.toJSON v
        else
          toString v;
    in
    pretty 0;
  generators.toJSON = _: builtins.toJSON;

  getValues = map (x: x.value);
  getFiles = map (x: x.file);

  mergeOneOption =
    loc: defs:
    if builtins.length defs == 1 then
      (builtins.head defs).value
    else
      throw "The unique option `${showOption loc}' is defined multiple times. Definition values:${showDefs defs}\nUse `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.";

  mergeEqualOption =
    loc: defs:
    let
      first = (builtins.head defs).value;
    in
    if defs == [ ] then
      throw "This case should never happen."
    else if builtins.length defs == 1 then
      first
    else if builtins.all (d: d.value == first) defs then
      first
    else
      throw "The option `${showOption loc}' has conflicting definition values:${showDefs defs}\nUse `lib.mkForce value` or `lib.mkDefault value` to change the priority on any of these definitions.";

  mergeDefaultOption =
    loc: defs:
    let
      list = getValues defs;
    in
    if builtins.length list == 1 then
      builtins.head list
    else if builtins.all isList list then
      concatLists list
    else if builtins.all isAttrs list then
      lib.mergeAttrsList list
    else if builtins.all builtins.isBool list then
      builtins.any (x: x) list
    else if builtins.all isString list then
      lib.concatStrings list
    else
      mergeEqualOption loc defs;

  # renderOptionValue is a value as a reference shows it.
  renderOptionValue =
    v:
    if v ? _type && v ? text then v else literalExpression (generators.toPretty { } v);

  # optionAttrSetToDocList: one attribute set for each option, also for those in
  # submodules.
  optionAttrSetToDocList = docList [ ];
  optionAttrSetToDocList' = _: docList [ ];
  collect =
    pred: attrs:
    if pred attrs then
      [ attrs ]
    else if isAttrs attrs then
      concatMap (collect pred) (builtins.attrValues attrs)
    else
      [ ];
  docList =
    prefix: options:
    concatMap (
      opt:
      let
        visible = opt.visible or true;
        own =
          {
            inherit (opt) loc;
            name = showOption opt.loc;
            description = opt.description or null;
            declarations = builtins.filter (x: x != "<unknown-file>") (opt.declarations or [ ]);
            internal = opt.internal or false;
            visible = if builtins.isBool visible then visible else visible == "shallow";
            readOnly = opt.readOnly or false;
            type = opt.type.description or "unspecified";
          }
          // lib.optionalAttrs (opt ? example) {
            example = renderOptionValue opt.example;
          }
          // lib.optionalAttrs (opt ? defaultText || opt ? default) {
            default = renderOptionValue (opt.defaultText or opt.default);
          };
        sub =
          if visible == "shallow" || visible == false then
            { }
          else
            opt.type.getSubOptions opt.loc;
      in
      [ own ] ++ lib.optionals (sub != { }) (docList opt.loc sub)
    ) (collect isOption (builtins.removeAttrs options (lib.optional (prefix != [ ]) "_module")));
}
