# What ferry's modules rely on of nixpkgs' `lib`: a list of {name, ok}. The
# stand-in and nixpkgs' own `lib` give the same results.
{
  lib ? import ../standin/nixpkgs/lib,
}:
let
  inherit (lib) mkOption types;

  eval = modules: (lib.evalModules { inherit modules; }).config;
  # of is the value of an option `x` of a type, by these definitions.
  of =
    type: defs:
    (eval ([ { options.x = mkOption { inherit type; }; } ] ++ map (x: { inherit x; }) defs)).x;
  # has is whether a value is had at all: an error that tryEval can catch.
  works = v: (builtins.tryEval (builtins.deepSeq v v)).success;
  same = name: got: want: {
    inherit name;
    ok = (builtins.tryEval (builtins.deepSeq got (got == want))).value;
    inherit got want;
  };
  fails = name: v: {
    inherit name;
    ok = !works v;
  };

  server = types.submodule (
    { name, config, ... }:
    {
      options = {
        label = mkOption {
          type = types.str;
          default = name;
        };
        port = mkOption { type = types.port; };
        url = mkOption {
          type = types.str;
          default = "http://${config.label}:${toString config.port}";
          defaultText = "by label and port";
        };
      };
    }
  );
in
[
  (same "a default counts where nothing is defined" (eval [
    {
      options.x = mkOption {
        type = types.int;
        default = 1;
      };
    }
  ]).x 1)
  (fails "an option without a value can't be read" (of types.int [ ]))
  (fails "an option that nobody declared is an error" (eval [ { y = 1; } ]))
  (fails "so is one under a false condition" (eval [ { y = lib.mkIf false 1; } ]))
  (fails "a value of another type" (of types.int [ "a" ]))
  (fails "two values of one priority" (of types.int [ 1 2 ]))
  (same "two equal ones" (of types.int [ 1 1 ]) 1)
  (same "75 wins over 100" (of types.int [ 1 (lib.mkOverride 75 2) ]) 2)
  (same "and mkForce over 75" (of types.int [ (lib.mkForce 3) (lib.mkOverride 75 2) 1 ]) 3)
  (same "mkDefault yields to a plain value" (of types.int [ (lib.mkDefault 2) 1 ]) 1)
  (same "mkDefault wins over the option's default" (eval [
    {
      options.x = mkOption {
        type = types.int;
        default = 1;
      };
    }
    { x = lib.mkDefault 2; }
  ]).x 2)
  (same "mkIf around a set reaches what is in it" (eval [
    {
      options.a.b = mkOption {
        type = types.int;
        default = 0;
      };
      options.on = mkOption {
        type = types.bool;
        default = false;
      };
    }
    (
      { config, ... }:
      {
        config = lib.mkIf config.on { a.b = 5; };
      }
    )
    { on = true; }
  ]).a.b 5)
  (same "mkIf false leaves nothing" (of (types.listOf types.int) [
    (lib.mkIf false [ 1 ])
    [ 2 ]
  ]) [ 2 ])
  (same "mkMerge of several" (of (types.listOf types.int) [
    (lib.mkMerge [
      [ 1 ]
      (lib.mkIf true [ 2 ])
    ])
  ]) [ 1 2 ])
  (same "mkOverride inside mkIf" (of types.int [
    (lib.mkIf true (lib.mkForce 2))
    1
  ]) 2)
  (same "mkBefore and mkAfter" (of (types.listOf types.int) [
    (lib.mkAfter [ 3 ])
    [ 2 ]
    (lib.mkBefore [ 1 ])
  ]) [ 1 2 3 ])
  (same "modules that come later define first" (of (types.listOf types.int) [ [ 1 ] [ 2 ] ]) [ 2 1 ])
  (same "lines are joined" (of types.lines [ "a" "b" ]) "b\na")
  (same "attribute sets by name" (of (types.attrsOf types.int) [ { a = 1; } { b = 2; } ]) { a = 1; b = 2; })
  (same "a false condition in an attribute set" (of (types.attrsOf types.int) [ { a = lib.mkIf false 1; b = 2; } ]) { b = 2; })
  (same "mkForce of one attribute" (of (types.attrsOf types.int) [ { a = 1; } { a = lib.mkForce 2; } ]).a 2)
  (same "null or a value" (of (types.nullOr types.int) [ null ]) null)
  (fails "null and a value" (of (types.nullOr types.int) [ null 1 ]))
  (same "an enumeration" (of (types.enum [ "a" "b" ]) [ "a" ]) "a")
  (fails "what is not in it" (of (types.enum [ "a" "b" ]) [ "c" ]))
  (same "either" (of (types.either types.int types.str) [ "c" ]) "c")
  (fails "neither" (of (types.either types.int types.str) [ true ]))
  (fails "0 is not positive" (of types.ints.positive [ 0 ]))
  (fails "-1 is not unsigned" (of types.ints.unsigned [ (-1) ]))
  (fails "a port has 16 bits" (of types.port [ 65536 ]))
  (same "between" (of (types.ints.between 1 3) [ 3 ]) 3)
  (fails "not between" (of (types.ints.between 1 3) [ 4 ]))
  (fails "a path is absolute" (of types.path [ "a/b" ]))
  (same "a path may be a string" (of types.path [ "/a/b" ]) "/a/b")
  (fails "an empty string" (of types.nonEmptyStr [ " " ]))
  (same "a pattern" (of (types.strMatching "[a-z]+") [ "ab" ]) "ab")
  (fails "against a pattern" (of (types.strMatching "[a-z]+") [ "a b" ]))
  (fails "a package is a derivation or in the store" (of types.package [ "/usr/bin" ]))
  (fails "an entry of another type" (of (types.listOf types.int) [ [ 1 "a" ] ]))
  (same "a submodule knows its name" (of (types.attrsOf server) [ { web.port = 80; } ]).web {
    label = "web";
    port = 80;
    url = "http://web:80";
  })
  (same "and is merged" (of (types.attrsOf server) [ { web.port = 80; } { web.label = "w"; } ]).web.url "http://w:80")
  (fails "an unknown option in a submodule" (of (types.attrsOf server) [ { web.prot = 80; } ]))
  (fails "a submodule without a value it needs" (of (types.attrsOf server) [ { web = { }; } ]).web.port)
  (fails "a read-only option is set once" (eval [
    {
      options.x = mkOption {
        type = types.int;
        readOnly = true;
        default = 1;
      };
    }
    { x = 2; }
  ]).x)
  (fails "an option is declared once" (eval [
    { options.x = mkOption { type = types.int; default = 1; }; }
    { options.x = mkOption { type = types.int; default = 1; }; }
  ]).x)
  (same "apply" (eval [
    {
      options.x = mkOption {
        type = types.int;
        apply = toString;
      };
    }
    { x = 1; }
  ]).x "1")
  (same "arguments of modules" (eval [
    { options.x = mkOption { type = types.int; }; }
    { _module.args.seven = 7; }
    ({ seven, ... }: { x = seven; })
  ]).x 7)
  (same "special arguments, in imports, too" (lib.evalModules {
    specialArgs.more = [ { x = 2; } ];
    modules = [
      { options.x = mkOption { type = types.int; }; }
      ({ more, ... }: { imports = more; })
    ];
  }).config.x 2)
  (same "imports define before" (eval [
    { options.x = mkOption { type = types.listOf types.int; }; }
    { imports = [ { imports = [ { x = [ 1 ]; } ]; x = [ 2 ]; } { x = [ 3 ]; } ]; x = [ 4 ]; }
  ]).x [ 1 3 2 4 ])
  (same "a file counts once" (eval [ ./modules-lib-once.nix ./modules-lib-once.nix ]).list [ 1 ])
  (same "options know whether they are defined" (
    let
      o = (lib.evalModules {
        modules = [
          { options.x = mkOption { type = types.int; }; options.y = mkOption { type = types.int; default = 1; }; }
          { x = lib.mkOverride 75 1; }
        ];
      }).options;
    in
    [ o.x.isDefined o.x.highestPrio o.y.highestPrio (o ? z) ]
  ) [ true 75 1500 false ])
  (same "a free-form type takes the rest" (eval [
    {
      freeformType = types.attrsOf types.int;
      options.x = mkOption { type = types.str; default = "a"; };
    }
    { y = 2; }
  ]) { x = "a"; y = 2; })
  (same "mkEnableOption" (eval [ { options.x = lib.mkEnableOption "it"; } ]).x false)
  (same "configurations can be extended" ((lib.evalModules {
    modules = [ { options.x = mkOption { type = types.int; default = 1; }; } ];
  }).extendModules { modules = [ { x = 2; } ]; }).config.x 2)
  (same "anything" (of types.anything [ { a.b = 1; } { a.c = 2; } ]) { a = { b = 1; c = 2; }; })
  (same "descriptions of types" (map (t: t.description) [
    types.bool
    (types.nullOr types.str)
    (types.listOf types.port)
    (types.attrsOf server)
    (types.enum [ "a" "b" ])
    (types.nullOr (types.listOf types.str))
    (types.listOf (types.nullOr types.int))
    (types.either types.str (types.listOf types.str))
    (types.attrsOf (types.listOf types.path))
    types.ints.positive
    (types.ints.between 1 3)
    (types.nullOr types.ints.unsigned)
    types.lines
    (types.nullOr types.package)
    (types.listOf (types.enum [ "a" "b" ]))
    (types.oneOf [ types.str types.int types.path ])
    (types.strMatching "[a-z]")
    (types.nullOr (types.submodule { }))
    (types.nullOr types.port)
    (types.listOf types.ints.positive)
    (types.nullOr (types.ints.between 1 3))
    types.anything
    (types.listOf types.anything)
    types.package
    (types.nullOr types.path)
    (types.nullOr (types.attrsOf types.str))
  ]) [
    "boolean"
    "null or string"
    "list of 16 bit unsigned integer; between 0 and 65535 (both inclusive)"
    "attribute set of (submodule)"
    "one of \"a\", \"b\""
    "null or (list of string)"
    "list of (null or signed integer)"
    "string or list of string"
    "attribute set of list of absolute path"
    "positive integer, meaning >0"
    "integer between 1 and 3 (both inclusive)"
    "null or (unsigned integer, meaning >=0)"
    "strings concatenated with \"\\n\""
    "null or package"
    "list of (one of \"a\", \"b\")"
    "string or signed integer or absolute path"
    "string matching the pattern [a-z]"
    "null or (submodule)"
    "null or 16 bit unsigned integer; between 0 and 65535 (both inclusive)"
    "list of (positive integer, meaning >0)"
    "null or integer between 1 and 3 (both inclusive)"
    "anything"
    "list of anything"
    "package"
    "null or absolute path"
    "null or (attribute set of string)"
  ])
  (same "a list for a reference" (map (o: [ o.name o.type (o.default.text or null) o.visible ]) (
    builtins.filter (o: !builtins.elem "_module" o.loc) (
      lib.optionAttrSetToDocList (lib.evalModules {
        modules = [
          {
            options.a.servers = mkOption {
              type = types.attrsOf server;
              default = { };
              description = "Servers.";
            };
            options.a.n = mkOption {
              type = types.int;
              default = 1;
              defaultText = lib.literalExpression "one";
              description = "N.";
            };
          }
        ];
      }).options
    )
  )) [
    [ "a.n" "signed integer" "one" true ]
    [ "a.servers" "attribute set of (submodule)" "{ }" true ]
    [ "a.servers.<name>.label" "string" "\"‹name›\"" true ]
    [ "a.servers.<name>.port" "16 bit unsigned integer; between 0 and 65535 (both inclusive)" null true ]
    [ "a.servers.<name>.url" "string" "\"by label and port\"" true ]
  ])
  (same "words for a shell" (lib.escapeShellArgs [ "a" "b c" "it's" "" ]) "a 'b c' 'it'\\''s' ''")
  (same "filterAttrs" (lib.filterAttrs (n: v: v != null) { a = 1; b = null; }) { a = 1; })
  (same "mapAttrs'" (lib.mapAttrs' (n: v: lib.nameValuePair "x-${n}" (v + 1)) { a = 1; }) { x-a = 2; })
  (same "mapAttrsToList" (lib.mapAttrsToList (n: v: "${n}=${v}") { a = "1"; b = "2"; }) [ "a=1" "b=2" ])
  (same "concatMapStringsSep" (lib.concatMapStringsSep ", " toString [ 1 2 ]) "1, 2")
  (same "optional things" [ (lib.optional false 1) (lib.optionals true [ 1 ]) (lib.optionalAttrs false { a = 1; }) (lib.optionalString true "a") ] [ [ ] [ 1 ] { } "a" ])
  (same "getExe" (lib.getExe { type = "derivation"; name = "a-1"; outPath = "/nix/store/a"; meta.mainProgram = "ay"; }) "/nix/store/a/bin/ay")
  (same "hasPrefix and friends" [ (lib.hasPrefix "a" "ab") (lib.hasSuffix "b" "ab") (lib.hasInfix "." "ab") (lib.removePrefix "a" "ab") (lib.splitString "." "a.b") ] [ true true false "b" [ "a" "b" ] ])
  (same "hiPrio" (lib.hiPrio { name = "a"; meta.license = 1; }).meta { license = 1; priority = -10; })
  (same "attrByPath" (lib.attrByPath [ "a" "b" ] 0 { a.b = 1; }) 1)
  (same "recursiveUpdate" (lib.recursiveUpdate { a.b = 1; a.c = 1; } { a.b = 2; }) { a = { b = 2; c = 1; }; })
  (same "unique" (lib.unique [ 1 2 1 ]) [ 1 2 ])
  (same "genAttrs" (lib.genAttrs [ "a" ] (n: n + "!")) { a = "a!"; })
]
