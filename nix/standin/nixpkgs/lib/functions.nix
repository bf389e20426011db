# Small functions on strings, lists and attribute sets, by their documented names.
let
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    elem
    filter
    foldl'
    getAttr
    hasAttr
    head
    isAttrs
    isFunction
    isList
    isString
    length
    listToAttrs
    map
    match
    replaceStrings
    stringLength
    substring
    tail
    toString
    ;
in
rec {
  inherit (builtins)
    add
    all
    any
    attrNames
    attrValues
    catAttrs
    compareVersions
    concatLists
    concatMap
    concatStringsSep
    deepSeq
    elem
    elemAt
    filter
    foldl'
    fromJSON
    genList
    getAttr
    groupBy
    hasAttr
    head
    intersectAttrs
    isAttrs
    isBool
    isFloat
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    map
    mapAttrs
    match
    pathExists
    readFile
    removeAttrs
    replaceStrings
    seq
    sort
    split
    stringLength
    substring
    tail
    throw
    toJSON
    toString
    trace
    zipAttrsWith
    ;

  version = "26.05pre-standin";
  trivial = { inherit version; release = "26.05"; };

  id = x: x;
  const = x: y: x;
  pipe = foldl' (x: f: f x);
  flip = f: a: b: f b a;
  boolToString = b: if b then "true" else "false";
  min = a: b: if a < b then a else b;
  max = a: b: if a > b then a else b;
  throwIf = cond: msg: if cond then throw msg else x: x;
  throwIfNot = cond: throwIf (!cond);
  assertMsg = pred: msg: pred || throw msg;
  warn = msg: builtins.trace "warning: ${msg}";
  warnIf = cond: msg: if cond then warn msg else x: x;
  importJSON = path: builtins.fromJSON (builtins.readFile path);

  isFunction = f: builtins.isFunction f || (f ? __functor && isFunction (f.__functor f));
  functionArgs =
    f: if f ? __functor then f.__functionArgs or (functionArgs (f.__functor f)) else builtins.functionArgs f;
  setFunctionArgs = f: args: {
    __functor = self: f;
    __functionArgs = args;
  };
  toFunction = v: if isFunction v then v else _: v;

  # lists
  singleton = x: [ x ];
  toList = x: if isList x then x else [ x ];
  optional = cond: x: if cond then [ x ] else [ ];
  optionals = cond: xs: if cond then xs else [ ];
  last = xs: builtins.elemAt xs (length xs - 1);
  init = xs: builtins.genList (builtins.elemAt xs) (length xs - 1);
  take = n: xs: builtins.genList (builtins.elemAt xs) (min n (length xs));
  drop = n: xs: builtins.genList (i: builtins.elemAt xs (i + n)) (max 0 (length xs - n));
  imap0 = f: xs: builtins.genList (i: f i (builtins.elemAt xs i)) (length xs);
  imap1 = f: xs: builtins.genList (i: f (i + 1) (builtins.elemAt xs i)) (length xs);
  range = first: end: if first > end then [ ] else builtins.genList (i: first + i) (end - first + 1);
  foldr =
    op: nul: xs:
    if xs == [ ] then nul else op (head xs) (foldr op nul (tail xs));
  foldl = foldl';
  findFirst =
    pred: default: xs:
    let
      found = filter pred xs;
    in
    if found == [ ] then default else head found;
  count = pred: xs: length (filter pred xs);
  unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
  allUnique = xs: length (unique xs) == length xs;
  subtractLists = xs: filter (x: !elem x xs);
  intersectLists = xs: filter (x: elem x xs);
  partition = builtins.partition;
  reverseList = xs: builtins.genList (i: builtins.elemAt xs (length xs - 1 - i)) (length xs);
  sortOn = f: builtins.sort (a: b: f a < f b);
  flatten = x: if isList x then concatMap flatten x else [ x ];
  zipListsWith =
    f: xs: ys:
    builtins.genList (i: f (builtins.elemAt xs i) (builtins.elemAt ys i)) (min (length xs) (length ys));

  # strings
  optionalString = cond: s: if cond then s else "";
  concatStrings = concatStringsSep "";
  concatMapStrings = f: xs: concatStrings (map f xs);
  concatMapStringsSep =
    sep: f: xs:
    concatStringsSep sep (map f xs);
  concatLines = concatMapStrings (s: s + "\n");
  concatMapAttrsStringSep =
    sep: f: attrs:
    concatStringsSep sep (mapAttrsToList f attrs);
  stringToCharacters = s: builtins.genList (i: substring i 1 s) (stringLength s);
  hasPrefix = prefix: s: substring 0 (stringLength prefix) s == prefix;
  hasSuffix =
    suffix: s:
    stringLength s >= stringLength suffix
    && substring (stringLength s - stringLength suffix) (-1) s == suffix;
  hasInfix = infix: s: length (builtins.split (escapeRegex infix) s) > 1;
  removePrefix = prefix: s: if hasPrefix prefix s then substring (stringLength prefix) (-1) s else s;
  removeSuffix =
    suffix: s: if hasSuffix suffix s then substring 0 (stringLength s - stringLength suffix) s else s;
  splitString = sep: s: filter isString (builtins.split (escapeRegex sep) s);
  escape = chars: replaceStrings chars (map (c: "\\${c}") chars);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
  escapeShellArg =
    arg:
    let
      s = toString arg;
    in
    if match "[[:alnum:],._+:@%/-]+" s == null then "'${replaceStrings [ "'" ] [ "'\\''" ] s}'" else s;
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  toUpper = replaceStrings (stringToCharacters "abcdefghijklmnopqrstuvwxyz") (
    stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
  );
  toLower = replaceStrings (stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (
    stringToCharacters "abcdefghijklmnopqrstuvwxyz"
  );
  trim =
    s:
    let
      m = match "[ \t\r\n]*(.*[^ \t\r\n])[ \t\r\n]*" s;
    in
    if m == null then "" else head m;
  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !versionOlder a b;
  fixedWidthString =
    width: filler: s:
    if stringLength s >= width then s else fixedWidthString width filler (filler + s);
  isStringLike = x: isString x || builtins.isPath x || x ? outPath || x ? __toString;

  # attribute sets
  nameValuePair = name: value: { inherit name value; };
  optionalAttrs = cond: attrs: if cond then attrs else { };
  mapAttrs' = f: attrs: listToAttrs (mapAttrsToList f attrs);
  mapAttrsToList = f: attrs: map (n: f n attrs.${n}) (attrNames attrs);
  attrsToList = mapAttrsToList nameValuePair;
  concatMapAttrs = f: attrs: foldl' (a: b: a // b) { } (mapAttrsToList f attrs);
  filterAttrs =
    pred: attrs: builtins.removeAttrs attrs (filter (n: !pred n attrs.${n}) (attrNames attrs));
  filterAttrsRecursive =
    pred: attrs:
    builtins.mapAttrs (_: v: if isAttrs v then filterAttrsRecursive pred v else v) (
      filterAttrs pred attrs
    );
  genAttrs = names: f: listToAttrs (map (n: nameValuePair n (f n)) names);
  attrVals = names: attrs: map (n: attrs.${n}) names;
  getAttrs = names: attrs: genAttrs names (n: attrs.${n});
  attrByPath =
    path: default: attrs:
    if path == [ ] then
      attrs
    else if isAttrs attrs && hasAttr (head path) attrs then
      attrByPath (tail path) default (getAttr (head path) attrs)
    else
      default;
  hasAttrByPath =
    path: attrs:
    path == [ ]
    || (
      isAttrs attrs && hasAttr (head path) attrs && hasAttrByPath (tail path) (getAttr (head path) attrs)
    );
  getAttrFromPath =
    path: attrByPath path (throw "cannot find attribute `${concatStringsSep "." path}'");
  setAttrByPath = path: value: foldr (n: v: { ${n} = v; }) value path;
  foldlAttrs =
    f: init: attrs:
    foldl' (acc: n: f acc n attrs.${n}) init (attrNames attrs);
  foldAttrs =
    op: nul: list:
    builtins.zipAttrsWith (_: foldr op nul) list;
  mergeAttrsList = foldl' (a: b: a // b) { };
  zipAttrs = builtins.zipAttrsWith (_: vs: vs);
  isDerivation = v: v.type or null == "derivation";
  recursiveUpdate =
    a: b:
    builtins.zipAttrsWith (
      _: vs:
      if length vs == 1 then
        head vs
      else if all isAttrs vs then
        recursiveUpdate (head vs) (builtins.elemAt vs 1)
      else
        builtins.elemAt vs 1
    ) [ a b ];
  makeOverridable = f: f;
  fix = f: let x = f x; in x;
  recurseIntoAttrs = attrs: attrs // { recurseForDerivations = true; };

  # packages
  getBin = p: p.bin or p.out or p;
  getOutput = output: p: p.${output} or p.out or p;
  addMetaAttrs = more: p: p // { meta = p.meta or { } // more; };
  setPrio = priority: addMetaAttrs { inherit priority; };
  hiPrio = setPrio (-10);
  lowPrio = setPrio 10;
  getName = p: if isString p then p else p.pname or (builtins.parseDrvName p.name).name;
  getVersion = p: if isString p then (builtins.parseDrvName p).version else p.version or "";
  getExe' = p: name: "${getBin p}/bin/${name}";
  getExe = p: getExe' p (p.meta.mainProgram or (getName p));
  makeBinPath = ps: concatMapStringsSep ":" (p: "${getBin p}/bin") ps;
  cleanSource = src: src;
  cleanSourceWith = { src, ... }: src;
  sourceByRegex = src: _: src;
  licenses =
    builtins.mapAttrs (_: spdxId: { inherit spdxId; shortName = spdxId; free = true; }) {
      mit = "MIT";
      asl20 = "Apache-2.0";
      gpl3Only = "GPL-3.0-only";
      lgpl21Only = "LGPL-2.1-only";
      bsd3 = "BSD-3-Clause";
    };
  platforms = {
    linux = [ "x86_64-linux" "aarch64-linux" ];
    darwin = [ "x86_64-darwin" "aarch64-darwin" ];
    unix = platforms.linux ++ platforms.darwin;
    all = platforms.unix;
  };
  systems.flakeExposed = platforms.unix;
  maintainers = { };

  # Sub-sets by their documented names.
  strings = {
    inherit
      concatStrings
      concatMapStrings
      concatMapStringsSep
      escapeShellArg
      escapeShellArgs
      hasPrefix
      hasSuffix
      hasInfix
      optionalString
      splitString
      removePrefix
      removeSuffix
      ;
    inherit (builtins) concatStringsSep;
  };
  lists = {
    inherit optional optionals unique flatten last init imap0 imap1 toList;
  };
  attrsets = {
    inherit filterAttrs mapAttrs' mapAttrsToList nameValuePair optionalAttrs genAttrs recursiveUpdate;
  };
}
